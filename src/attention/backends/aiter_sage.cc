// Attention as AITER's fav3_sage computes it on AMD's accelerators: whole-number scores of smoothed keys in blocks of
// 256 queries and 128 keys, probabilities and values in 8-bit floating point.
#include <array>

#include "attention/option_values.h"
#include "attention/sage_plan.h"

namespace tessera {
namespace {

constexpr std::array kOptions{
    OptionSpec{.key = "fp8",
               .help = "kind of 8-bit numbers: e4m3fn (up to 448, as gfx950 has it) or e4m3fnuz (up to 240, gfx942)",
               .default_value = [] { return OptionValue("e4m3fn"); },
               .least = {},
               .most = {},
               .choices = "e4m3fn|e4m3fnuz"},
    OptionSpec{.key = "smooth_k",
               .help = "take the mean out of the keys",
               .default_value = [] { return OptionValue(true); },
               .least = {},
               .most = {},
               .choices = {}},
};

// Masks and grouped heads are refused: programs that call fav3_sage do so without either.
constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, kSageMostChannels, 1},
    .cross = true,
    .lse = true,
    .walks_blocks = true,
    .fidelity = Fidelity::kQuantized,
};

// Against flash attention's 1: integer scores are faster, but CPUs multiply 8-bit floating point as f32. Measured with
// AVX-512 BF16 on H4 S2048 D128.
double Speed(const AttentionProblem&, const Device&) { return 0.7; }

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options& options) {
  const bool fnuz = WordOf(options, "fp8") == "e4m3fnuz";
  return MakeSagePlan(problem, device.isa,
                      {.granularity = SageGranularity::kPerBlock,
                       .values = fnuz ? SageValues::kFp8UnitFnuz : SageValues::kFp8Unit,
                       .smooth_k = SwitchOf(options, "smooth_k"),
                       .rounding = SageRounding::kAway,
                       .blocks = SageBlocks::k256x128});
}

}  // namespace

extern const AttentionBackend k_aiter_sage_backend;
constinit const AttentionBackend k_aiter_sage_backend{
    .name = "aiter_sage",
    .aliases = "",
    .summary = "AITER's fav3_sage (ROCm): 8-bit integer scores, 8-bit floating point values",
    .caps = kCaps,
    .options = kOptions,
    .stands_in_for = "aiter_quant",
    .check = CheckSoftmaxScale,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
