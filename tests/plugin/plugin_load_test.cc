// Libraries that are no plug-ins, or bad ones, get one line; the program ends with a code and leaves nothing behind.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/plugin.h"
#include "base/error.h"
#include "base/text.h"
#include "support/command.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

std::string Bad(const std::string& what) { return std::string(TESSERA_BAD_PLUGINS) + "/bad_" + what + ".so"; }

std::string Refusal(const std::string& path, ErrorKind kind) {
  try {
    AttentionPlugin::Load(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    EXPECT_THAT(error.what(), StartsWith("attention plug-in "));
    return error.what();
  }
  return "loaded";
}

TEST(LoadPlugin, RefusesWhatIsNoLibrary) {
  EXPECT_THAT(Refusal("/nowhere/lib.so", ErrorKind::kIo), HasSubstr("there is no such file"));
  EXPECT_THAT(Refusal("/tmp", ErrorKind::kIo), HasSubstr("is not a file"));
  EXPECT_THAT(Refusal("/dev/zero", ErrorKind::kIo), HasSubstr("is not a file"));
  EXPECT_THAT(Refusal(TESSERA_SOURCE_FOLDER "/README.md", ErrorKind::kIo),
              HasSubstr("cannot be loaded as a shared library: invalid ELF header"));
  EXPECT_THAT(Refusal("no_such_library.so", ErrorKind::kIo), HasSubstr("cannot open shared object file"));
  EXPECT_THAT(Refusal(Bad("symbol"), ErrorKind::kFormat), HasSubstr("does not export tessera_attention_plugin"));
}

TEST(LoadPlugin, RefusesAnotherVersion) {
  EXPECT_THAT(Refusal(Bad("version"), ErrorKind::kFormat),
              HasSubstr("is built for version 2 of the plug-in interface, this program has version 1"));
}

TEST(LoadPlugin, RefusesWhatMakesNoSense) {
  EXPECT_THAT(Refusal(Bad("table"), ErrorKind::kFormat), HasSubstr("offers nothing (NULL)"));
  EXPECT_THAT(Refusal(Bad("caps"), ErrorKind::kFormat), HasSubstr("backend 'faulty': summary is not UTF-8"));
}

testing::CommandResult Tessera(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), TESSERA_BINARY);
  return testing::RunCommand(arguments);
}

void ExpectOneLine(const testing::CommandResult& result, const std::string& line) {
  EXPECT_NE(result.exit_code, 0);
  EXPECT_LT(result.exit_code, 128);
  EXPECT_THAT(result.err, HasSubstr(line));
  EXPECT_EQ(Split(result.err, '\n').size(), 2u) << result.err;
}

TEST(PluginProgram, RefusesANameThatIsTaken) {
  ExpectOneLine(Tessera({"backends", "--attention-plugin", Bad("clash")}),
                "its backend 'sdpa' has a name that is taken");
  ExpectOneLine(Tessera({"backends", "--attention-plugin", Bad("run"), Bad("run")}),
                "its backend 'faulty' has a name that is taken");
}

TEST(PluginProgram, ReportsAPlanThatFails) {
  ExpectOneLine(Tessera({"bench", "attention", "f32 b1 h1/1 d8 q8 kv8", "--backend", "faulty", "--attention-plugin",
                         Bad("plan")}),
                "attention backend 'faulty' cannot plan 'f32 b1 h1/1 d8 q8 kv8 mask=none': the device is\\x0aon fire");
}

TEST(PluginProgram, ReportsAnAbsurdWorkspace) {
  ExpectOneLine(Tessera({"bench", "attention", "f32 b1 h1/1 d8 q8 kv8", "--backend", "faulty", "--attention-plugin",
                         Bad("workspace")}),
                "asks for 18446744073709551615 bytes of workspace");
}

TEST(PluginProgram, ReportsARunThatFailsInABenchmark) {
  ExpectOneLine(
      Tessera({"bench", "attention", "f32 b1 h1/1 d8 q8 kv8", "--backend", "faulty", "--attention-plugin", Bad("run")}),
      "attention backend 'faulty' failed at 'f32 b1 h1/1 d8 q8 kv8 mask=none': the device went away");
}

TEST(PluginProgram, ReportsARunThatFailsInAPictureAndWritesNone) {
  const testing::TemporaryFolder folder;
  const auto result = Tessera({"generate", "--attention-plugin", Bad("run"), "--attention-backend", "faulty",
                               "--num-inference-steps", "1", "--output-path", folder.path(), "--log-level", "error"});
  EXPECT_EQ(result.exit_code, 3);
  EXPECT_THAT(result.err, HasSubstr("attention backend 'faulty' failed at transformer."));
  EXPECT_THAT(result.err, HasSubstr("the device went away"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(PluginProgram, UnknownNamesListThePluggedBackends) {
  ExpectOneLine(Tessera({"explain", "--attention-plugin", Bad("run"), "--attention-backend", "fualty"}),
                "did you mean 'faulty'");
}

}  // namespace
}  // namespace tessera
