// Flash attention on the CPU as a plan: packs keys and values once per kv head, then walks query blocks in parallel.
#pragma once
#include <memory>

#include "attention/backend.h"
#include "kernels/attention/flash.h"

namespace tessera {

// The arithmetic that is faster on `device` for operands of `dtype`.
FlashArithmetic FlashArithmeticFor(DType dtype, const Device& device) noexcept;

// kBf16Dot needs bf16 operands and Isa::kAvx512Bf16.
std::unique_ptr<AttentionPlan> MakeFlashPlan(const AttentionProblem& problem, Isa isa, FlashArithmetic arithmetic);

}  // namespace tessera
