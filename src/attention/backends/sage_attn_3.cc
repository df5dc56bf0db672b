// SageAttention 3 (arXiv 2505.11594): every operand in NVFP4, 4-bit floats of which 16 share an 8-bit scale. Its
// products are computed from what the codes stand for, exactly.
#include <array>

#include "attention/nvfp4_plan.h"
#include "attention/option_values.h"

namespace tessera {
namespace {

constexpr std::array kOptions{
    OptionSpec{.key = "per_block_mean",
               .help = "take the mean of 128 neighbouring queries out of each, else the mean of its head's queries",
               .default_value = [] { return OptionValue(true); },
               .least = {},
               .most = {},
               .choices = {}},
    OptionSpec{.key = "smooth_k",
               .help = "take the mean out of the keys",
               .default_value = [] { return OptionValue(true); },
               .least = {},
               .most = {},
               .choices = {}},
    OptionSpec{.key = "sum_quantized",
               .help = "divide by the sum of rounded probabilities, which takes a bias out of values with a mean",
               .default_value = [] { return OptionValue(false); },
               .least = {},
               .most = {},
               .choices = {}},
    OptionSpec{.key = "divide_rounded",
               .help = "round probabilities relative to their scale as stored in 8 bits, not as computed",
               .default_value = [] { return OptionValue(false); },
               .least = {},
               .most = {},
               .choices = {}},
};

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, kNvfp4MostChannels, 1},
    .masks = kMaskCausal | kMaskCausalTopLeft | kMaskKeyLengths | kMaskVarlen,
    .grouped_kv = true,
    .cross = true,
    .lse = true,
    .walks_blocks = true,
    .fidelity = Fidelity::kQuantized,
    .quantized_bits = 4,
};

// The products of flash attention, and the work of rounding.
double Speed(const AttentionProblem&, const Device&) { return 0.7; }

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options& options) {
  const Nvfp4Options chosen{.per_block_mean = SwitchOf(options, "per_block_mean"),
                            .smooth_k = SwitchOf(options, "smooth_k"),
                            .sum_quantized = SwitchOf(options, "sum_quantized"),
                            .divide_rounded = SwitchOf(options, "divide_rounded")};
  const bool dot = device.isa >= Isa::kAvx512Bf16 && device.bf16_dot_pays;
  return MakeNvfp4Plan(problem, device.isa, dot ? FlashArithmetic::kBf16Dot : FlashArithmetic::kF32, chosen);
}

}  // namespace

extern const AttentionBackend k_sage_attn_3_backend;
constinit const AttentionBackend k_sage_attn_3_backend{
    .name = "sage_attn_3",
    .aliases = "sage3",
    .summary = "SageAttention 3: every product in 4-bit floats with a scale per 16 (NVFP4)",
    .caps = kCaps,
    .options = kOptions,
    .check = CheckSoftmaxScale,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
