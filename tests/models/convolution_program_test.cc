#include "models/convolution_program.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

// input -> a -> n(norm of a) -> b; a += b; up(a) -> c
ConvolutionProgram Small() {
  ConvolutionProgram program(4, 2, 1e-6f);
  const Feature a = program.Convolve(program.input(), "in", {4, 8});
  const Feature n = program.Norm(a, "norm", Activation::kSilu);
  const Feature b = program.Convolve(n, "mid", {8, 8});
  program.AddTo(a, b);
  program.Convolve(program.Upsample(a), "out", {8, 2, 3, 1, 1, 1});
  return program;
}

TEST(ConvolutionProgram, ShapesFollowTheSteps) {
  const ProgramLayout layout = Small().LayOut({1, 6, 10, 4}, DType::kF32);
  EXPECT_EQ(layout.shapes[1], (Shape{1, 6, 10, 8}));
  EXPECT_EQ(layout.shapes[4], (Shape{1, 12, 20, 8}));
  EXPECT_EQ(layout.shapes[5], (Shape{1, 12, 20, 2}));
}

TEST(ConvolutionProgram, StridedConvolutionsPadAtTheEndOnly) {
  ConvolutionProgram program(4, 2, 1e-6f);
  program.Convolve(program.input(), "down", {4, 4, 3, 2, 0, 1});
  EXPECT_EQ(program.LayOut({1, 6, 10, 4}, DType::kF32).shapes[1], (Shape{1, 3, 5, 4}));
}

TEST(ConvolutionProgram, WeightsAreListedWithTheirShapes) {
  const auto weights = Small().Weights();
  ASSERT_EQ(weights.size(), 8u);
  EXPECT_EQ(weights[0].name, "in.weight");
  EXPECT_EQ(weights[0].shape, (Shape{8, 4, 3, 3}));
  EXPECT_EQ(weights[3].name, "norm.bias");
  EXPECT_EQ(weights[3].shape, Shape{8});
}

size_t BytesOf(const ProgramLayout& layout, size_t feature) {
  return static_cast<size_t>(layout.shapes[feature].numel()) * SizeOf(DType::kF32);
}

TEST(ConvolutionProgram, FeaturesThatLiveTogetherDoNotOverlap) {
  const ProgramLayout layout = Small().LayOut({1, 6, 10, 4}, DType::kF32);
  // Pairs that some step reads or writes together, and a, which lives until it is upsampled.
  const std::pair<size_t, size_t> together[] = {{1, 2}, {2, 3}, {1, 3}, {1, 4}, {4, 5}};
  for (const auto& [a, b] : together) {
    const size_t first = layout.offsets[a], second = layout.offsets[b];
    EXPECT_TRUE(first + BytesOf(layout, a) <= second || second + BytesOf(layout, b) <= first) << a << " and " << b;
  }
  for (size_t i = 1; i < layout.shapes.size(); ++i) {
    EXPECT_LE(layout.offsets[i] + BytesOf(layout, i), layout.bytes);
    EXPECT_EQ(layout.offsets[i] % 64, 0u);
  }
}

TEST(ConvolutionProgram, MemoryIsReused) {
  const ProgramLayout layout = Small().LayOut({1, 64, 64, 4}, DType::kF32);
  size_t all = 0;
  for (size_t i = 1; i < layout.shapes.size(); ++i) all += BytesOf(layout, i);
  // The peak is at the upsampling: a and four times its positions.
  EXPECT_EQ(layout.bytes, BytesOf(layout, 1) + BytesOf(layout, 4));
  EXPECT_LT(layout.bytes, all);
}

TEST(ConvolutionProgram, CountsFlops) {
  ConvolutionProgram program(4, 2, 1e-6f);
  program.Convolve(program.input(), "in", {4, 8});
  EXPECT_DOUBLE_EQ(program.CostOf({1, 6, 10, 4}, DType::kF32).convolution_flops, 2.0 * 6 * 10 * 8 * 4 * 9);
}

}  // namespace
}  // namespace tessera
