#include "attention/registry.h"

#include <algorithm>

#include <fmt/format.h>

#include "attention/composition.h"
#include "attention/plugin.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

#define X(name) &k_##name##_backend,
constexpr const AttentionBackend* kKernels[] = {
#include "attention_backend.inc"
};
#undef X

#define X(name) &k_##name##_planner,
constexpr const AttentionPlanner* kPlanners[] = {
#include "attention_planner.inc"
    nullptr,  // an array needs an element
};
#undef X

std::vector<std::string> NamesOf(const AttentionBackend& backend) {
  std::vector<std::string> names = {std::string(backend.name)};
  for (std::string& alias : Split(backend.aliases, ' ')) {
    if (!alias.empty()) names.push_back(std::move(alias));
  }
  return names;
}

bool HasWord(std::string_view words, std::string_view wanted) {
  for (size_t begin = 0; begin < words.size();) {
    const size_t end = std::min(words.find(' ', begin), words.size());
    if (words.substr(begin, end - begin) == wanted) return true;
    begin = end + 1;
  }
  return false;
}

bool IsSpelled(const AttentionBackend& backend, std::string_view wanted) {
  return backend.name == wanted || (!wanted.empty() && HasWord(backend.aliases, wanted));
}

}  // namespace

AttentionRegistry::AttentionRegistry(std::vector<const AttentionBackend*> kernels,
                                     std::vector<const AttentionPlanner*> planners)
    : kernels_(std::move(kernels)), backends_(kernels_) {
  std::vector<const AttentionBackend*> walkers;
  std::copy_if(kernels_.begin(), kernels_.end(), std::back_inserter(walkers),
               [](const AttentionBackend* kernel) { return kernel->caps.walks_blocks; });
  const auto add = [&](const AttentionPlanner& planner, const AttentionBackend& kernel, std::string name) {
    made_.push_back(std::make_unique<AttentionComposition>(planner, kernel, std::move(name)));
    return &made_.back()->backend();
  };
  for (const AttentionPlanner* planner : planners) {
    if (walkers.empty()) break;
    backends_.push_back(add(*planner, *walkers.front(), std::string(planner->name)));
    for (const AttentionBackend* kernel : walkers) {
      compositions_.push_back(add(*planner, *kernel, fmt::format("{}+{}", planner->name, kernel->name)));
    }
  }
}

AttentionRegistry::~AttentionRegistry() = default;
AttentionRegistry::AttentionRegistry(AttentionRegistry&&) noexcept = default;

const AttentionRegistry& AttentionRegistry::BuiltIn() {
  static const AttentionRegistry built_in({std::begin(kKernels), std::end(kKernels)},
                                          {std::begin(kPlanners), std::end(kPlanners) - 1});
  return built_in;
}

AttentionRegistry AttentionRegistry::BuiltInWith(std::vector<std::shared_ptr<const AttentionPlugin>> plugins) {
  std::vector<const AttentionBackend*> kernels(std::begin(kKernels), std::end(kKernels));
  std::vector<std::string> taken = {"auto"};
  for (const AttentionBackend* backend : BuiltIn().backends()) {
    for (std::string& name : NamesOf(*backend)) taken.push_back(std::move(name));
  }
  for (const auto& plugin : plugins) {
    for (const AttentionBackend* backend : plugin->backends()) {
      if (std::find(taken.begin(), taken.end(), backend->name) != taken.end()) {
        throw Error(ErrorKind::kUsage, fmt::format("attention plug-in {}: its backend '{}' has a name that is taken; "
                                                   "every backend needs a name of its own",
                                                   Printable(plugin->path()), backend->name));
      }
      taken.emplace_back(backend->name);
      kernels.push_back(backend);
    }
  }
  AttentionRegistry all(std::move(kernels), {std::begin(kPlanners), std::end(kPlanners) - 1});
  all.plugins_ = std::move(plugins);
  return all;
}

const AttentionBackend& AttentionRegistry::Find(std::string_view name) const {
  const std::string wanted = Lower(Trim(name));
  for (const AttentionBackend* backend : backends_) {
    if (IsSpelled(*backend, wanted)) return *backend;
  }
  if (wanted.find('+') != std::string::npos) return FindPair(wanted);
  RejectName(name);
}

// Either part by any of its spellings.
const AttentionBackend& AttentionRegistry::FindPair(std::string_view name) const {
  const size_t plus = name.find('+');
  const AttentionBackend& planner = Find(name.substr(0, plus));
  const AttentionBackend& kernel = Find(name.substr(plus + 1));
  for (const AttentionBackend* pair : compositions_) {
    if (pair->planner == planner.planner && pair->kernel == &kernel) return *pair;
  }
  const auto reason = planner.planner == nullptr  ? fmt::format("'{}' is no planner", planner.name)
                      : kernel.planner != nullptr ? fmt::format("'{}' is no kernel", kernel.name)
                                                  : fmt::format("'{}' cannot walk lists of blocks", kernel.name);
  throw Error(ErrorKind::kUsage,
              fmt::format("attention backend '{}': {}; wanted planner+kernel, such as {}", Printable(name), reason,
                          compositions_.empty() ? "" : compositions_.front()->name));
}

void AttentionRegistry::RejectName(std::string_view name) const {
  std::vector<std::string> known, spellings = {"auto"};
  for (const AttentionBackend* backend : backends_) {
    known.emplace_back(backend->name);
    for (std::string& spelling : NamesOf(*backend)) spellings.push_back(std::move(spelling));
  }
  known.emplace_back("auto");
  for (const AttentionBackend* backend : backends_) {
    if (!HasWord(backend->stands_in_for, Lower(Trim(name)))) continue;
    throw Error(ErrorKind::kUsage,
                fmt::format("no attention backend named '{}' here, that is another program's; the equivalent is '{}'",
                            Printable(name), backend->name));
  }
  std::string message = fmt::format("no attention backend named '{}'; known: {}", Printable(name), Join(known, ", "));
  if (const auto nearest = Nearest(name, spellings)) message += fmt::format("; did you mean '{}'", *nearest);
  throw Error(ErrorKind::kUsage, message);
}

}  // namespace tessera
