// tessera backends: the data sheets of the attention backends.
#include <cstdio>

#include <nlohmann/json.hpp>

#include "attention/backend_reference.h"
#include "base/error.h"
#include "cli/attention_plugins.h"
#include "cli/commands.h"
#include "cli/flags.h"

namespace tessera {
namespace {

constexpr Flag kFlags[] = {
    {"describe", FlagKind::kString, "everything about one backend, or about PLANNER+KERNEL", "", "", "", "NAME"},
    {"matrix", FlagKind::kBool, "which backend runs on which kind of device"},
    {"all", FlagKind::kBool, "with --markdown: the whole page docs/attention_backends.md"},
    {"json", FlagKind::kBool, "print JSON"},
    {"markdown", FlagKind::kBool, "print Markdown"},
    kAttentionPluginFlag};
constexpr FlagGroup kGroups[] = {{"Flags", kFlags}};
constexpr FlagTable kCommand{"tessera backends", "list the attention backends and what each can do", kGroups};

void CheckFlags(const FlagValues& values) {
  const int topics = (values.Has("describe") ? 1 : 0) + (values.Bool("matrix") ? 1 : 0) + (values.Bool("all") ? 1 : 0);
  if (topics > 1) throw Error(ErrorKind::kUsage, "--describe, --matrix and --all: one of them at a time works");
  if (values.Bool("json") && values.Bool("markdown")) {
    throw Error(ErrorKind::kUsage, "--json and --markdown: one of them at a time works");
  }
  if (values.Bool("all") && !values.Bool("markdown")) throw Error(ErrorKind::kUsage, "--all: needs --markdown");
}

std::string AsJson(const FlagValues& values, const AttentionRegistry& registry) {
  if (values.Has("describe")) return BackendToJson(registry.Find(values.String("describe"))).dump(2);
  if (values.Bool("matrix")) return PlatformMatrixToJson(registry.backends()).dump(2);
  return BackendsToJson(registry.backends()).dump(2);
}

std::string AsText(const FlagValues& values, const AttentionRegistry& registry) {
  const TableFormat format = values.Bool("markdown") ? TableFormat::kMarkdown : TableFormat::kText;
  if (values.Has("describe")) return DescribeBackend(registry.Find(values.String("describe")), format);
  if (values.Bool("matrix")) return PrintPlatformMatrix(registry.backends(), format);
  return values.Bool("all") ? BackendReference(registry) : PrintBackends(registry.backends(), format);
}

}  // namespace

int BackendsCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(kCommand, arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(kCommand).c_str(), stdout);
    return 0;
  }
  CheckFlags(values);
  const auto registry = RegistryOf(values);
  const std::string text = values.Bool("json") ? AsJson(values, *registry) + "\n" : AsText(values, *registry);
  std::fputs(text.c_str(), stdout);
  return 0;
}

}  // namespace tessera
