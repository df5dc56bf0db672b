#include "attention/plugin.h"

#include <dlfcn.h>

#include <filesystem>

#include <fmt/format.h>

#include "attention/plugin_plan.h"
#include "attention/plugin_sheet.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr uint32_t kMostBackends = 64, kLargestStruct = 1u << 16;
constexpr size_t kLongestReason = 200;

[[noreturn]] void Refuse(ErrorKind kind, const std::string& path, std::string_view why) {
  throw Error(kind, fmt::format("attention plug-in {}: {}", Printable(path), why));
}

// Opening a pipe or a device would wait for it.
std::string PathForLoader(const std::string& path) {
  std::error_code code;
  const auto status = std::filesystem::status(path, code);
  if (!std::filesystem::exists(status)) {
    if (path.find('/') == std::string::npos) return path;
    Refuse(ErrorKind::kIo, path, "there is no such file");
  }
  if (!std::filesystem::is_regular_file(status)) Refuse(ErrorKind::kIo, path, "is not a file");
  return std::filesystem::absolute(path, code).string();
}

template <class Function>
Function* Symbol(void* library, const char* name, const std::string& path) {
  auto* symbol = reinterpret_cast<Function*>(dlsym(library, name));
  if (symbol == nullptr) {
    Refuse(ErrorKind::kFormat, path,
           fmt::format("is no attention plug-in, it does not export {} of tessera/attention_plugin.h", name));
  }
  return symbol;
}

// The loader's message repeats the path in front.
std::string WhyNotLoaded(const std::string& loaded) {
  const char* message = dlerror();
  std::string why = message == nullptr ? "unknown reason" : message;
  if (why.starts_with(loaded + ": ")) why.erase(0, loaded.size() + 2);
  return Printable(why, 300);
}

}  // namespace

class PluginBackend final : public AttentionMaker {
 public:
  explicit PluginBackend(const tessera_attention_backend& given) : given_(given), sheet_(ReadPluginSheet(given)) {
    backend_.name = sheet_.name;
    backend_.summary = sheet_.summary;
    backend_.caps = sheet_.caps;
    backend_.options = sheet_.options;
    backend_.maker = this;
  }
  PluginBackend(const PluginBackend&) = delete;
  PluginBackend& operator=(const PluginBackend&) = delete;

  const AttentionBackend& backend() const noexcept { return backend_; }

  std::string_view Check(const AttentionProblem& problem, const Device& device) const override {
    if (given_.check == nullptr) return "";
    const tessera_attention_problem asked = PluginProblem(problem, device);
    const char* reason = given_.check(&asked);
    if (reason == nullptr) return "";
    const std::string_view text(reason, strnlen(reason, kLongestReason + 1));
    const bool readable = !text.empty() && text.size() <= kLongestReason && Printable(text, kLongestReason) == text;
    return readable ? text : "the plug-in refuses for a reason that cannot be printed";
  }
  double Speed(const AttentionProblem&, const Device&) const override { return sheet_.speed; }
  std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device,
                                      const Options& options) const override {
    return MakePluginPlan(given_, problem, device, options);
  }

 private:
  const tessera_attention_backend& given_;
  const PluginSheet sheet_;
  AttentionBackend backend_{};
};

std::shared_ptr<const AttentionPlugin> AttentionPlugin::Load(const std::string& path) {
  const std::string loaded = PathForLoader(path);
  void* library = dlopen(loaded.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) {
    Refuse(ErrorKind::kIo, path, fmt::format("cannot be loaded as a shared library: {}", WhyNotLoaded(loaded)));
  }
  const uint32_t abi = Symbol<uint32_t()>(library, "tessera_attention_abi", path)();
  if (abi != TESSERA_ATTENTION_ABI) {
    Refuse(ErrorKind::kFormat, path,
           fmt::format("is built for version {} of the plug-in interface, this program has version {}; build it "
                       "against this program's tessera/attention_plugin.h",
                       abi, TESSERA_ATTENTION_ABI));
  }
  auto* const entry = Symbol<const tessera_attention_library*()>(library, "tessera_attention_plugin", path);
  return std::make_shared<const AttentionPlugin>(path, entry());
}

AttentionPlugin::AttentionPlugin(std::string path, const tessera_attention_library* library) : path_(std::move(path)) {
  if (library == nullptr || library->backends == nullptr) Refuse(ErrorKind::kFormat, path_, "offers nothing (NULL)");
  if (library->struct_size < sizeof *library || library->struct_size > kLargestStruct) {
    Refuse(ErrorKind::kFormat, path_, fmt::format("struct_size of the library is {}", library->struct_size));
  }
  if (library->backend_count < 1 || library->backend_count > kMostBackends) {
    Refuse(ErrorKind::kFormat, path_,
           fmt::format("offers {} backends, wanted 1 to {}", library->backend_count, kMostBackends));
  }
  for (uint32_t i = 0; i < library->backend_count; ++i) {
    if (library->backends[i] == nullptr) Refuse(ErrorKind::kFormat, path_, fmt::format("backend {} is NULL", i));
    try {
      owned_.push_back(std::make_unique<PluginBackend>(*library->backends[i]));
    } catch (const Error& error) {
      Refuse(error.kind(), path_, error.what());
    }
    backends_.push_back(&owned_.back()->backend());
  }
}

AttentionPlugin::~AttentionPlugin() = default;

}  // namespace tessera
