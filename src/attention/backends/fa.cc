// Flash attention: exact softmax attention in one pass over the keys (Dao et al., arXiv 2307.08691).
#include "attention/flash_plan.h"

namespace tessera {
namespace {

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, 256, 1},
    .masks = kMaskCausal | kMaskCausalTopLeft | kMaskKeyLengths | kMaskVarlen,
    .grouped_kv = true,
    .cross = true,
    .lse = true,
    .walks_blocks = true,
};

std::string_view Check(const AttentionProblem& problem, const Device&) {
  return problem.softmax_scale() > 0 ? "" : "the softmax scale must be greater than 0";
}

double Speed(const AttentionProblem&, const Device&) { return 1.0; }

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options&) {
  return MakeFlashPlan(problem, device.isa, FlashArithmeticFor(problem.dtype, device));
}

}  // namespace

extern const AttentionBackend k_fa_backend;
constinit const AttentionBackend k_fa_backend{
    .name = "fa",
    .aliases = "fa3 fa4 flash",
    .summary = "flash attention, exact: the fast default",
    .caps = kCaps,
    .options = {},
    .check = Check,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
