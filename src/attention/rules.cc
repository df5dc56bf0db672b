#include "attention/rules.h"

namespace tessera {
namespace {

// A row refuses when `serves` is false. A new dimension of problems is a field in the problem, a field in the data
// sheet whose default says no, and a row here.
struct Rule {
  std::string_view reason;
  bool (*serves)(const AttentionCaps& caps, const AttentionProblem& problem, const Device& device);
};

bool CoversTokens(const AttentionProblem& problem) {
  const VideoGrid& grid = *problem.grid;
  if (grid.t < 1 || grid.h < 1 || grid.w < 1 || grid.prefix < 0 || grid.suffix < 0) return false;
  const int64_t video = problem.kv_len - grid.prefix - grid.suffix;  // by division: the product may overflow
  return video % grid.t == 0 && video / grid.t % grid.h == 0 && video / grid.t / grid.h == grid.w;
}

using Caps = AttentionCaps;
using Problem = AttentionProblem;

constexpr Rule kRules[] = {
    {"inconsistent problem", [](const Caps&, const Problem& p, const Device&) { return Defect(p).empty(); }},
    {"not for this kind of device",
     [](const Caps& c, const Problem&, const Device& d) { return (c.devices & Bit(d.kind)) != 0; }},
    {"needs a newer instruction set",
     [](const Caps& c, const Problem&, const Device& d) { return d.kind != DeviceKind::kCpu || d.isa >= c.isa; }},
    {"dtype", [](const Caps& c, const Problem& p, const Device&) { return (c.dtypes & Bit(p.dtype)) != 0; }},
    {"head dim", [](const Caps& c, const Problem& p, const Device&) { return c.head_dims.Contains(p.head_dim); }},
    {"causal mask",
     [](const Caps& c, const Problem& p, const Device&) { return (p.mask & ~c.masks & kMaskCausal) == 0; }},
    {"top-left causal mask",
     [](const Caps& c, const Problem& p, const Device&) { return (p.mask & ~c.masks & kMaskCausalTopLeft) == 0; }},
    {"key lengths",
     [](const Caps& c, const Problem& p, const Device&) { return (p.mask & ~c.masks & kMaskKeyLengths) == 0; }},
    {"packed sequences",
     [](const Caps& c, const Problem& p, const Device&) { return (p.mask & ~c.masks & kMaskVarlen) == 0; }},
    {"bias or boolean mask",
     [](const Caps& c, const Problem& p, const Device&) { return (p.mask & ~c.masks & kMaskBias) == 0; }},
    {"unknown mask", [](const Caps&, const Problem& p, const Device&) { return p.mask < 2 * kMaskBias; }},
    {"grouped kv heads",
     [](const Caps& c, const Problem& p, const Device&) { return c.grouped_kv || p.heads == p.kv_heads; }},
    {"cross attention", [](const Caps& c, const Problem& p, const Device&) { return c.cross || p.q_len == p.kv_len; }},
    {"no log-sum-exp", [](const Caps& c, const Problem& p, const Device&) { return c.lse || !p.needs_lse; }},
    {"wants a video grid",
     [](const Caps& c, const Problem& p, const Device&) { return !c.wants_grid || p.grid.has_value(); }},
    {"the video grid does not cover the tokens",
     [](const Caps& c, const Problem& p, const Device&) { return !c.wants_grid || !p.grid || CoversTokens(p); }},
    {"ignores the checkpoint's gate",
     [](const Caps& c, const Problem& p, const Device&) { return c.applies_gate || !p.has_gate; }},
};

}  // namespace

std::vector<std::string_view> Refusals(const AttentionBackend& backend, const AttentionProblem& problem,
                                       const Device& device) {
  std::vector<std::string_view> reasons;
  if (!IsInThisBuild(backend)) reasons.push_back("not in this build");
  for (const Rule& rule : kRules) {
    if (!rule.serves(backend.caps, problem, device)) reasons.push_back(rule.reason);
  }
  if (reasons.empty()) {
    if (const std::string_view reason = CheckProblem(backend, problem, device); !reason.empty())
      reasons.push_back(reason);
  }
  return reasons;
}

}  // namespace tessera
