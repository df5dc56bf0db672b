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

struct Layer {
  Tensor weight, bias;
};
// bf16 weights: a machine that multiplies bf16 pairs rounds them, which is not what these tests are about.
Layer LayerOf(const ConvolutionShape& s, DType weight_type) {
  const Tensor weight = RandomTensor({s.out_channels, s.in_channels, s.kernel, s.kernel}, DType::kBF16, 1);
  return {weight.To(weight_type), RandomTensor({s.out_channels}, DType::kF32, 2)};
}

TEST_F(ConvolutionTest, MatchesReference) {
  for (const Case& c : kCases) {
    for (const DType weight_type : kActivationTypes) {
      const Layer layer = LayerOf(c.shape, weight_type);
      for (const DType compute : kActivationTypes) {
        const Tensor src = RandomTensor(c.src, compute, 3);
        for (const Bf16Dot dot : MachineArithmetics()) {
          SetBf16Dot(dot);
          const Convolution convolution(layer.weight, layer.bias, c.shape, compute);
          Tensor expected = Poisoned(convolution.OutputShape(c.src), DType::kF32);
          reference::Convolve(src.To(DType::kF32), layer.weight.To(DType::kF32), layer.bias, c.shape, expected);
          EXPECT_LE(RelativeDifference(Convolved(convolution, src), expected), Tolerance(compute))
              << c.src.ToString() << " -> " << c.shape.out_channels << " " << Name(compute);
        }
      }
    }
  }
}

TEST_F(ConvolutionTest, GivesTheSameBytesForAnyNumberOfThreads) {
  for (const Case& c : kCases) {
    const Layer layer = LayerOf(c.shape, DType::kBF16);
    for (const DType compute : kActivationTypes) {
      for (const Bf16Dot dot : MachineArithmetics()) {
        SetBf16Dot(dot);
        const Convolution convolution(layer.weight, layer.bias, c.shape, compute);
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
}

TEST_F(ConvolutionTest, PlansItsScratchWithoutWeights) {
  for (const Case& c : kCases) {
    for (const DType compute : kActivationTypes) {
      const Layer layer = LayerOf(c.shape, DType::kBF16);
      const Convolution convolution(layer.weight, layer.bias, c.shape, compute);
      EXPECT_EQ(Convolution::WorkspaceBytes(c.shape, c.src, compute), convolution.WorkspaceBytes(c.src));
    }
  }
}

TEST_F(ConvolutionTest, AddsToWhatIsThere) {
  for (const Case& c : kCases) {
    const Layer layer = LayerOf(c.shape, DType::kBF16);
    for (const DType from : kActivationTypes) {
      const Tensor src = RandomTensor(c.src, from, 3);
      for (const Bf16Dot dot : MachineArithmetics()) {
        SetBf16Dot(dot);
        const Convolution convolution(layer.weight, layer.bias, c.shape, Convolution::Types{from, DType::kF32});
        Tensor product = Poisoned(convolution.OutputShape(c.src), DType::kF32);
        reference::Convolve(src.To(DType::kF32), layer.weight.To(DType::kF32), layer.bias, c.shape, product);
        const Tensor start = RandomTensor(product.shape(), DType::kF32, 5);
        for (const auto into : {Convolution::Into::kAddWithBias, Convolution::Into::kAdd}) {
          Tensor dst = start.Clone(), expected = start.Clone();
          for (int64_t i = 0; i < dst.numel(); ++i) {
            const float bias = layer.bias.data<float>()[i % c.shape.out_channels];
            expected.mutable_data<float>()[i] +=
                product.data<float>()[i] - (into == Convolution::Into::kAdd ? bias : 0.0f);
          }
          Workspace workspace;
          convolution.Forward(src, dst, workspace, into);
          EXPECT_LE(RelativeDifference(dst, expected), Tolerance(from)) << c.src.ToString();
        }
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
