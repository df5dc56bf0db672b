// Operands for kernel tests: reproducible values, poisoned destinations, instruction sets, comparisons.
#pragma once
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "tensor/tensor.h"

namespace tessera {

inline Tensor RandomTensor(const Shape& shape, DType dtype, unsigned seed, float mean = 0.0f) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(mean, 1.0f);
  Tensor tensor = Tensor::Empty(shape, DType::kF32);
  for (int64_t i = 0; i < tensor.numel(); ++i) tensor.mutable_data<float>()[i] = normal(engine);
  return dtype == DType::kF32 ? tensor : tensor.To(dtype);
}

// All bits set: NaN in every float type, so that a forgotten element shows.
inline Tensor Poisoned(const Shape& shape, DType dtype) {
  Tensor tensor = Tensor::Empty(shape, dtype);
  std::memset(tensor.mutable_raw(), 0xFF, tensor.bytes());
  return tensor;
}

inline bool SameBytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// The largest difference of two tensors of one type, relative to the largest expected value.
inline double RelativeDifference(const Tensor& actual, const Tensor& expected) {
  const Tensor a = actual.To(DType::kF32), b = expected.To(DType::kF32);
  double largest = 0, difference = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double x = static_cast<double>(a.data<float>()[i]), y = static_cast<double>(b.data<float>()[i]);
    if (std::isnan(x)) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(y));
    difference = std::max(difference, std::abs(x - y));
  }
  return largest == 0 ? difference : difference / largest;
}

// A few f32 roundings, or one bf16 rounding that fell the other way.
inline double Tolerance(DType dtype) { return dtype == DType::kF32 ? 1e-6 : 8e-3; }

inline std::vector<Isa> MachineIsas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa <= MachineIsa()) isas.push_back(isa);
  }
  return isas;
}

// The arithmetics of products this machine can do: bf16 pairs, or everything widened to f32.
inline std::vector<Bf16Dot> MachineArithmetics() {
  if (MachineIsa() < Isa::kAvx512Bf16) return {Bf16Dot::kOff};
  return {Bf16Dot::kOff, Bf16Dot::kOn};
}

// Restores the instruction set, the arithmetic and the number of threads.
class KernelTest : public testing::Test {
 protected:
  ~KernelTest() override {
    SetActiveIsa(MachineIsa());
    SetBf16Dot(Bf16Dot::kMeasured);
    SetThreads(0);
  }
};

constexpr DType kActivationTypes[] = {DType::kF32, DType::kBF16};

}  // namespace tessera
