// Flash attention with the rules of AITER, AMD's library for ROCm: what its mha_fwd takes, computed by our own kernels.
#include "attention/flash_plan.h"

namespace tessera {
namespace {

// AITER widens head dims to whole eights and keeps f32 out. Its additive bias is not offered: flash kernels have none.
constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {8, 256, 8},
    .masks = kMaskCausal | kMaskCausalTopLeft | kMaskKeyLengths | kMaskVarlen,
    .grouped_kv = true,
    .cross = true,
    .lse = true,
    .walks_blocks = true,
};

// The kernels of fa, which is the plainer name for them on a CPU.
double Speed(const AttentionProblem&, const Device&) { return 0.99; }

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options&) {
  return MakeFlashPlan(problem, device.isa, FlashArithmeticFor(problem.dtype, device));
}

}  // namespace

extern const AttentionBackend k_aiter_backend;
constinit const AttentionBackend k_aiter_backend{
    .name = "aiter",
    .aliases = "",
    .summary = "flash attention with the rules of AITER (ROCm): 16-bit, head dims of whole eights up to 256",
    .caps = kCaps,
    .options = {},
    .check = CheckSoftmaxScale,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
