// SageAttention 1, 2 and 2++ (arXiv 2410.02367, 2411.10958, 2505.21136): 8-bit integer scores after taking out the
// keys' mean, values in 8 or 16 bits.
#include <array>
#include <string>

#include "attention/option_values.h"
#include "attention/sage_plan.h"

namespace tessera {
namespace {

constexpr std::array kOptions{
    OptionSpec{.key = "qk_granularity",
               .help =
                   "queries and keys that share a scale: per_row (each query, 64 keys), per_thread (2 x 8 groups of "
                   "4 queries, 4 of 16 keys), per_warp (32 queries, 64 keys) or per_block (128 and 64)",
               .default_value = [] { return OptionValue("per_row"); },
               .least = {},
               .most = {},
               .choices = "per_row|per_thread|per_warp|per_block"},
    OptionSpec{.key = "pv",
               .help = "arithmetic of probabilities and values: int8 (fastest), fp16, or what fp8 hardware computes: "
                       "fp8 (SageAttention 2) and fp8++ (2++)",
               .default_value = [] { return OptionValue("int8"); },
               .least = {},
               .most = {},
               .choices = "int8|fp16|fp8|fp8++"},
    OptionSpec{.key = "smooth_k",
               .help = "take the mean out of the keys",
               .default_value = [] { return OptionValue(true); },
               .least = {},
               .most = {},
               .choices = {}},
    OptionSpec{.key = "smooth_v",
               .help = "take the mean out of the values",
               .default_value = [] { return OptionValue(false); },
               .least = {},
               .most = {},
               .choices = {}},
};

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, kSageMostChannels, 1},
    .masks = kMaskCausal | kMaskCausalTopLeft | kMaskKeyLengths | kMaskVarlen,
    .grouped_kv = true,
    .cross = true,
    .lse = true,
    .walks_blocks = true,
    .fidelity = Fidelity::kQuantized,
};

// Without integer dot products the codes multiply as f32, beside the work of rounding.
double Speed(const AttentionProblem& problem, const Device& device) {
  if (device.isa < Isa::kAvx512Bf16) return 0.8;
  return problem.head_dim < 96 ? 1.4 : 1.6;
}

// The position of a word among those of its enum.
template <class Enum, size_t kCount>
Enum Chosen(const std::string& word, const std::array<std::string_view, kCount>& words) {
  size_t n = 0;
  while (n + 1 < kCount && word != words[n]) ++n;
  return static_cast<Enum>(n);
}

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options& options) {
  constexpr std::array<std::string_view, 4> kGranularities = {"per_row", "per_thread", "per_warp", "per_block"};
  constexpr std::array<std::string_view, 4> kValues = {"int8", "fp16", "fp8", "fp8++"};
  return MakeSagePlan(problem, device.isa,
                      {.granularity = Chosen<SageGranularity>(WordOf(options, "qk_granularity"), kGranularities),
                       .values = Chosen<SageValues>(WordOf(options, "pv"), kValues),
                       .smooth_k = SwitchOf(options, "smooth_k"),
                       .smooth_v = SwitchOf(options, "smooth_v")});
}

}  // namespace

extern const AttentionBackend k_sage_attn_backend;
constinit const AttentionBackend k_sage_attn_backend{
    .name = "sage_attn",
    .aliases = "sage sage_hub",
    .summary = "SageAttention 1, 2, 2++: 8-bit integer scores with smoothed keys",
    .caps = kCaps,
    .options = kOptions,
    .stands_in_for =
        "sage_varlen _sage_qk_int8_pv_fp8_cuda _sage_qk_int8_pv_fp8_cuda_sm90 _sage_qk_int8_pv_fp16_cuda "
        "_sage_qk_int8_pv_fp16_triton",
    .check = CheckSoftmaxScale,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
