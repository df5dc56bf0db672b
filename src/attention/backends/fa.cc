// Flash attention: exact softmax attention in one pass over the keys (Dao et al., arXiv 2307.08691).
#include <array>

#include "attention/flash_plan.h"
#include "attention/option_values.h"
#include "base/error.h"

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

constexpr std::array<OptionSpec, 1> kOptions = {{
    {"arithmetic", "of the products: f32, bf16 dot products, or auto for the faster here",
     [] { return OptionValue(std::string("auto")); }, std::nullopt, std::nullopt, "auto|f32|bf16"},
}};

double Speed(const AttentionProblem&, const Device&) { return 1.0; }

FlashArithmetic ArithmeticOf(const AttentionProblem& problem, const Device& device, const Options& options) {
  const std::string& word = WordOf(options, "arithmetic");
  if (word == "auto") return FlashArithmeticFor(problem.dtype, device);
  if (word == "f32") return FlashArithmetic::kF32;
  if (problem.dtype != DType::kBF16 || device.isa < Isa::kAvx512Bf16) {
    throw Error(ErrorKind::kUnsupported,
                "attention backend fa: arithmetic=bf16 needs bf16 operands and avx512_bf16; "
                "arithmetic=auto or f32 would work");
  }
  return FlashArithmetic::kBf16Dot;
}

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options& options) {
  return MakeFlashPlan(problem, device.isa, ArithmeticOf(problem, device, options));
}

}  // namespace

extern const AttentionBackend k_fa_backend;
constinit const AttentionBackend k_fa_backend{
    .name = "fa",
    .aliases = "fa3 fa4 flash flash_hub _flash_3 _flash_3_hub flash_4_hub _native_flash",
    .summary = "flash attention, exact: the fast default",
    .caps = kCaps,
    .options = kOptions,
    .stands_in_for =
        "fa2 flex xformers flash_varlen flash_varlen_hub _flash_varlen_3 _flash_3_varlen_hub "
        "_native_efficient",
    .check = CheckSoftmaxScale,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
