#include "kernels/linear/gemm.h"

#include "kernels/linear/reference.h"
#include "kernels_ops/operands.h"

namespace tessera {
namespace {

using GemmTest = KernelTest;
constexpr DType kWeightTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

struct Case {
  int64_t rows, in, out;
};

// Elements that begin `offset` elements behind an aligned address, as tensors in mapped files do.
Tensor Misaligned(const Tensor& tensor, int64_t offset) {
  const Tensor room = Tensor::Empty({tensor.numel() + offset}, tensor.dtype());
  Tensor view = room.Narrow(0, offset, tensor.numel()).Reshape(tensor.shape());
  std::memcpy(view.mutable_raw(), tensor.raw(), tensor.bytes());
  return view;
}

Tensor Product(const Tensor& src, const Tensor& weight, const Tensor& bias, DType dtype) {
  Tensor dst = Poisoned({src.dim(0), weight.dim(0)}, dtype);
  Workspace workspace;
  Gemm(src, weight, bias, dst, workspace);
  EXPECT_LE(workspace.peak_bytes(),
            GemmWorkspaceBytes(src.dim(0), weight.dim(1), weight.dim(0), src.dtype(), weight.dtype()));
  return dst;
}

// Calls f for every instruction set, and for both arithmetics where bf16 pairs can be multiplied.
template <class F>
void ForEachKernel(const F& f) {
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    for (const Bf16Dot dot : MachineArithmetics()) {
      if (dot == Bf16Dot::kOn && isa != Isa::kAvx512Bf16) continue;
      SetBf16Dot(dot);
      SCOPED_TRACE(testing::Message() << Name(isa) << (dot == Bf16Dot::kOn ? " bf16 pairs" : " f32"));
      f();
    }
  }
}

void ExpectLikeReference(const Case& c, DType src_type, DType weight_type) {
  const Tensor src = RandomTensor({c.rows, c.in}, src_type, 1);
  const Tensor weight = Misaligned(RandomTensor({c.out, c.in}, weight_type, 2), 1);
  for (const Tensor& bias : {RandomTensor({c.out}, DType::kF32, 3), Tensor()}) {
    for (const DType dst_type : kActivationTypes) {
      Tensor expected = Poisoned({c.rows, c.out}, dst_type);
      reference::Gemm(src, weight, bias, expected);
      SCOPED_TRACE(testing::Message() << c.rows << " " << c.in << " " << c.out << " " << Name(src_type) << " "
                                      << Name(weight_type) << " " << Name(dst_type));
      ForEachKernel(
          [&] { EXPECT_LE(RelativeDifference(Product(src, weight, bias, dst_type), expected), Tolerance(dst_type)); });
    }
  }
}

TEST_F(GemmTest, MatchesReferenceForAllTypes) {
  for (const Case& c :
       {Case{1, 40, 30}, {3, 129, 65}, {5, 17, 300}, {33, 100, 257}, {70, 801, 96}, {1, 1, 1}, {6, 1, 1}}) {
    for (const DType src_type : kActivationTypes) {
      for (const DType weight_type : kWeightTypes) ExpectLikeReference(c, src_type, weight_type);
    }
  }
}

TEST_F(GemmTest, MatchesReferenceWhenSrcIsPackedInChunks) {
  SetThreads(2);
  SetBf16Dot(Bf16Dot::kOff);
  const Case tall{900, 30000, 7};  // more packed bytes than are packed at once
  const Tensor src = RandomTensor({tall.rows, tall.in}, DType::kBF16, 1);
  const Tensor weight = RandomTensor({tall.out, tall.in}, DType::kBF16, 2);
  Tensor expected = Poisoned({tall.rows, tall.out}, DType::kF32);
  reference::Gemm(src, weight, Tensor(), expected);
  EXPECT_LE(RelativeDifference(Product(src, weight, Tensor(), DType::kF32), expected), 2e-6);
}

TEST_F(GemmTest, GivesTheSameBytesForAnyNumberOfThreads) {
  for (const Case& c : {Case{1, 3072, 768}, {4, 12288, 200}, {16, 3072, 640}, {800, 400, 520}}) {
    for (const DType src_type : kActivationTypes) {
      for (const DType weight_type : {DType::kF32, DType::kBF16}) {
        const Tensor src = RandomTensor({c.rows, c.in}, src_type, 1);
        const Tensor weight = RandomTensor({c.out, c.in}, weight_type, 2);
        ForEachKernel([&] {
          SetThreads(1);
          const Tensor one = Product(src, weight, Tensor(), DType::kBF16);
          for (const int threads : {2, 5}) {
            SetThreads(threads);
            EXPECT_TRUE(SameBytes(one, Product(src, weight, Tensor(), DType::kBF16)))
                << c.rows << " " << c.in << " " << c.out << " threads " << threads;
          }
        });
      }
    }
  }
}

TEST_F(GemmTest, DoesNothingForNoRows) {
  const Tensor weight = RandomTensor({8, 16}, DType::kBF16, 1);
  EXPECT_EQ(Product(Tensor::Empty({0, 16}, DType::kF32), weight, Tensor(), DType::kF32).numel(), 0);
}

}  // namespace
}  // namespace tessera
