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

TEST_F(GemmTest, MatchesReferenceForAllTypes) {
  for (const Case& c : {Case{1, 40, 30}, {3, 129, 65}, {5, 17, 300}, {33, 100, 257}, {70, 384, 96}, {1, 1, 1}}) {
    for (const DType src_type : kActivationTypes) {
      for (const DType weight_type : kWeightTypes) {
        const Tensor src = RandomTensor({c.rows, c.in}, src_type, 1);
        const Tensor weight = Misaligned(RandomTensor({c.out, c.in}, weight_type, 2), 1);
        for (const Tensor& bias : {RandomTensor({c.out}, DType::kF32, 3), Tensor()}) {
          for (const DType dst_type : kActivationTypes) {
            Tensor expected = Poisoned({c.rows, c.out}, dst_type);
            reference::Gemm(src, weight, bias, expected);
            for (const Isa isa : MachineIsas()) {
              SetActiveIsa(isa);
              EXPECT_LE(RelativeDifference(Product(src, weight, bias, dst_type), expected), Tolerance(dst_type))
                  << c.rows << " " << c.in << " " << c.out << " " << Name(src_type) << " " << Name(weight_type) << " "
                  << Name(dst_type) << " " << Name(isa);
            }
          }
        }
      }
    }
  }
}

TEST_F(GemmTest, GivesTheSameBytesForAnyNumberOfThreads) {
  for (const Case& c : {Case{1, 3072, 768}, {4, 12288, 200}, {16, 3072, 640}, {200, 2048, 520}, {2100, 64, 300}}) {
    for (const DType src_type : kActivationTypes) {
      for (const DType weight_type : {DType::kF32, DType::kBF16}) {
        const Tensor src = RandomTensor({c.rows, c.in}, src_type, 1),
                     weight = RandomTensor({c.out, c.in}, weight_type, 2);
        for (const Isa isa : MachineIsas()) {
          SetActiveIsa(isa);
          SetThreads(1);
          const Tensor one = Product(src, weight, Tensor(), DType::kF32);
          for (const int threads : {2, 3, 7}) {
            SetThreads(threads);
            EXPECT_TRUE(SameBytes(one, Product(src, weight, Tensor(), DType::kF32)))
                << c.rows << " " << c.in << " " << c.out << " threads " << threads << " " << Name(isa);
          }
        }
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
