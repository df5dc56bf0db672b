// Flash attention with the rules of Ascend's FusedInferAttentionScore, computed by our own kernels. It always has the
// log-sum-exp, which attention over several devices is merged by.
#include "attention/flash_plan.h"

namespace tessera {
namespace {

// Head dims are widened to whole sixteens without touching the scale, so any up to 512 will do.
constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, 512, 1},
    .masks = kMaskCausal | kMaskCausalTopLeft | kMaskKeyLengths | kMaskVarlen,
    .grouped_kv = true,
    .cross = true,
    .lse = true,
    .walks_blocks = true,
};

constexpr int kMostHeads = 256, kMostHeadsPerKvHead = 64;
constexpr int64_t kMostBatch = 65536, kMostPackedTokens = 1048576;

// Layout TND: tokens of all sequences in one axis.
std::string_view CheckPacked(const AttentionProblem& problem) {
  if (problem.dtype != DType::kBF16) return "packed sequences need bf16";
  if (problem.head_dim != 128) return "packed sequences need head dim 128";
  if ((problem.mask & kMaskCausalTopLeft) != 0) return "packed sequences have bottom-right causal masks only";
  if (problem.q_len > kMostPackedTokens || problem.kv_len > kMostPackedTokens) {
    return "more than 1048576 packed tokens";
  }
  return "";
}

std::string_view Check(const AttentionProblem& problem, const Device& device) {
  if (const auto reason = CheckSoftmaxScale(problem, device); !reason.empty()) return reason;
  if (problem.heads > kMostHeads) return "more than 256 heads";
  if (problem.heads / problem.kv_heads > kMostHeadsPerKvHead) return "more than 64 query heads share a kv head";
  if (problem.batch > kMostBatch) return "more than 65536 batch entries";
  return (problem.mask & kMaskVarlen) != 0 ? CheckPacked(problem) : "";
}

// The kernels of fa, which is the plainer name for them on a CPU.
double Speed(const AttentionProblem&, const Device&) { return 0.98; }

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options&) {
  return MakeFlashPlan(problem, device.isa, FlashArithmeticFor(problem.dtype, device));
}

}  // namespace

extern const AttentionBackend k_fia_backend;
constinit const AttentionBackend k_fia_backend{
    .name = "fia",
    .aliases = "",
    .summary = "flash attention with the rules of Ascend's fused inference: 16-bit, up to 256 heads",
    .caps = kCaps,
    .options = {},
    .stands_in_for = "_native_npu",
    .check = Check,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
