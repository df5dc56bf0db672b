#include "kernels/convolution/convolution.h"

#include "kernels/convolution/reference.h"
#include "kernels_ops/operands.h"

namespace tessera {
namespace {

using ConvolutionTest = KernelTest;

struct Case {
  Shape src;
  ConvolutionShape shape;
};

const Case kCases[] = {
    {{1, 20, 23, 16}, {16, 32, 3, 1, 1, 1}}, {{2, 9, 8, 32}, {32, 3, 3, 1, 1, 1}},
    {{1, 33, 40, 3}, {3, 24, 3, 1, 1, 1}},   {{1, 32, 34, 16}, {16, 16, 3, 2, 0, 1}},
    {{2, 21, 17, 24}, {24, 40, 1, 1, 0, 0}}, {{1, 64, 66, 8}, {8, 8, 3, 1, 1, 1}},
    {{1, 1, 1, 16}, {16, 16, 3, 1, 1, 1}},   {{1, 31, 29, 10}, {10, 6, 3, 2, 0, 1}},
};

Tensor Convolved(const Convolution& convolution, const Tensor& src) {
  Tensor dst = Poisoned(convolution.OutputShape(src.shape()), src.dtype());
  Workspace workspace;
  convolution.Forward(src, dst, workspace);
  EXPECT_LE(workspace.peak_bytes(), std::max<size_t>(64, convolution.WorkspaceBytes(src.shape())));
  return dst;
}

TEST_F(ConvolutionTest, MatchesReference) {
  for (const Case& c : kCases) {
    for (const DType weight_type : kActivationTypes) {
      const auto& s = c.shape;
      const Tensor weight = RandomTensor({s.out_channels, s.in_channels, s.kernel, s.kernel}, weight_type, 1);
      const Tensor bias = RandomTensor({s.out_channels}, DType::kF32, 2);
      for (const DType compute : kActivationTypes) {
        // bf16 weights, so that a machine that computes in bf16 rounds nothing but the result.
        const Tensor exact = compute == DType::kBF16 ? weight.To(DType::kBF16) : weight;
        const Convolution convolution(exact, bias, s, compute);
        const Tensor src = RandomTensor(c.src, compute, 3);
        Tensor expected = Poisoned(convolution.OutputShape(c.src), DType::kF32);
        reference::Convolve(src.To(DType::kF32), exact.To(DType::kF32), bias, s, expected);
        EXPECT_LE(RelativeDifference(Convolved(convolution, src), expected), Tolerance(compute))
            << c.src.ToString() << " -> " << s.out_channels << " " << Name(compute);
      }
    }
  }
}

TEST_F(ConvolutionTest, GivesTheSameBytesForAnyNumberOfThreads) {
  for (const Case& c : kCases) {
    const auto& s = c.shape;
    const Tensor weight = RandomTensor({s.out_channels, s.in_channels, s.kernel, s.kernel}, DType::kBF16, 1);
    for (const DType compute : kActivationTypes) {
      const Convolution convolution(weight, RandomTensor({s.out_channels}, DType::kF32, 2), s, compute);
      const Tensor src = RandomTensor(c.src, compute, 3);
      SetThreads(1);
      const Tensor one = Convolved(convolution, src);
      for (const int threads : {2, 5}) {
        SetThreads(threads);
        EXPECT_TRUE(SameBytes(one, Convolved(convolution, src))) << c.src.ToString() << " threads " << threads;
      }
    }
  }
}

TEST_F(ConvolutionTest, AsymmetricPaddingHalvesEvenSizes) {
  const Convolution convolution(RandomTensor({4, 4, 3, 3}, DType::kF32, 1), Tensor::Zeros({4}, DType::kF32),
                                {4, 4, 3, 2, 0, 1}, DType::kF32);
  EXPECT_EQ(convolution.OutputShape({1, 32, 48, 4}), Shape({1, 16, 24, 4}));
}

}  // namespace
}  // namespace tessera
