// The attention backends that can be chosen: kernels, planners with their default kernel, and every other pairing.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/backend.h"
#include "attention/planner.h"

namespace tessera {

// A plug-in <name>.cc defines k_<name>_backend: `constinit const AttentionBackend k_fa_backend = {...};`.
#define X(name) extern const AttentionBackend k_##name##_backend;
#include "attention_backend.inc"
#undef X
// A planner <name>.cc defines k_<name>_planner.
#define X(name) extern const AttentionPlanner k_##name##_planner;
#include "attention_planner.inc"
#undef X

class AttentionComposition;
class AttentionPlugin;

// Immutable once made; backends live as long as it.
class AttentionRegistry {
 public:
  // Planners without a kernel of their own take the first kernel that walks blocks. `kernels` must outlive it.
  explicit AttentionRegistry(std::vector<const AttentionBackend*> kernels,
                             std::vector<const AttentionPlanner*> planners = {});
  ~AttentionRegistry();
  AttentionRegistry(AttentionRegistry&&) noexcept;

  // What is built in: the lists of attention/backends and attention/planners.
  static const AttentionRegistry& BuiltIn();

  // What is built in with the backends of shared libraries, which it shares with plans made from them. Throws
  // Error{kUsage} for a name that is taken.
  static AttentionRegistry BuiltInWith(std::vector<std::shared_ptr<const AttentionPlugin>> plugins);

  // One backend per name: the kernels, then the planners with their default kernel.
  std::span<const AttentionBackend* const> backends() const noexcept { return backends_; }
  // Every planner with every kernel that walks blocks ("vmoba_attn+sage_attn").
  std::span<const AttentionBackend* const> compositions() const noexcept { return compositions_; }

  // By name or alias in any case, or "planner+kernel". Throws Error{kUsage} for an unknown name, with the known ones
  // and the nearest.
  const AttentionBackend& Find(std::string_view name) const;

 private:
  const AttentionBackend& FindPair(std::string_view name) const;
  [[noreturn]] void RejectName(std::string_view name) const;

  std::vector<std::shared_ptr<const AttentionPlugin>> plugins_;
  std::vector<std::unique_ptr<AttentionComposition>> made_;
  std::vector<const AttentionBackend*> kernels_, backends_, compositions_;
};

}  // namespace tessera
