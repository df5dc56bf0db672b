#include <cmath>

#include "base/error.h"
#include "gmock/gmock.h"
#include "kernels/linear/reference.h"
#include "kernels_ops/operands.h"
#include "layers/linear.h"
#include "layers/rotary.h"
#include "layers/timestep_embedding.h"

namespace tessera {
namespace {

using LinearTest = KernelTest;

TEST_F(LinearTest, MultipliesWeightsOfEveryFloatTypeAsTheyLie) {
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    const Tensor weight = RandomTensor({33, 50}, dtype, 1), bias = RandomTensor({33}, DType::kBF16, 2);
    WeightMap weights("transformer");
    weights.Insert("proj.weight", weight, "a.safetensors");
    weights.Insert("proj.bias", bias, "a.safetensors");
    const Linear linear(weights, "proj", {50, 33, LinearShape::Bias::kRequired});
    weights.Finish();
    const Tensor src = RandomTensor({7, 50}, DType::kBF16, 3);
    Tensor expected = Poisoned({7, 33}, DType::kF32);
    reference::Gemm(src, weight, bias.To(DType::kF32), expected);
    Workspace workspace(linear.WorkspaceBytes(7, DType::kBF16) + 7 * 33 * 4 + 64);
    const size_t reserved = workspace.reserved_bytes();
    EXPECT_LE(RelativeDifference(linear.Forward(src, DType::kF32, workspace), expected), 1e-6) << Name(dtype);
    EXPECT_EQ(workspace.reserved_bytes(), reserved) << "the plan was too small";
  }
}

TEST_F(LinearTest, KeepsTheOuterShapeOfItsSource) {
  WeightMap weights("transformer");
  weights.Insert("proj.weight", RandomTensor({4, 6}, DType::kF32, 1), "a.safetensors");
  const Linear linear(weights, "proj", {6, 4});
  Workspace workspace;
  EXPECT_EQ(linear.Forward(RandomTensor({2, 3, 6}, DType::kF32, 2), DType::kBF16, workspace).shape(), Shape({2, 3, 4}));
}

TEST_F(LinearTest, RefusesTypesThatNoFormatReads) {
  WeightMap weights("transformer");
  weights.Insert("proj.weight", Tensor::Zeros({4, 6}, DType::kI32), "a.safetensors");
  try {
    const Linear linear(weights, "proj", {6, 4});
    FAIL() << "accepted i32 weights";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                testing::AllOf(testing::HasSubstr("proj"), testing::HasSubstr("i32"), testing::HasSubstr("dense")));
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
  }
}

TEST_F(LinearTest, RefusesAMissingBias) {
  WeightMap weights("transformer");
  weights.Insert("proj.weight", Tensor::Zeros({4, 6}, DType::kF32), "a.safetensors");
  EXPECT_THROW(Linear(weights, "proj", {6, 4, LinearShape::Bias::kRequired}), Error);
}

TEST(TimestepTest, FeaturesAreCosinesThenSines) {
  const Tensor features = TimestepFeatures(988.0f, 256);
  ASSERT_EQ(features.shape(), Shape({1, 256}));
  for (int i = 0; i < 128; ++i) {
    // The angle is an f32: near 988 its spacing is 6e-5.
    const double angle = 988.0 * std::exp(-std::log(10000.0) * i / 128.0);
    EXPECT_NEAR(static_cast<double>(features.data<float>()[i]), std::cos(angle), 2e-4) << i;
    EXPECT_NEAR(static_cast<double>(features.data<float>()[128 + i]), std::sin(angle), 2e-4) << i;
  }
  EXPECT_EQ(TimestepFeatures(0.0f, 4).data<float>()[0], 1.0f);
  EXPECT_EQ(TimestepFeatures(0.0f, 4).data<float>()[2], 0.0f);
}

TEST_F(LinearTest, TimestepEmbeddingIsATwoLayerPerceptron) {
  const Tensor w1 = RandomTensor({12, 16}, DType::kF32, 1), w2 = RandomTensor({8, 12}, DType::kF32, 2);
  WeightMap weights("transformer");
  weights.Insert("t.linear_1.weight", w1, "a.safetensors");
  weights.Insert("t.linear_2.weight", w2, "a.safetensors");
  const TimestepEmbedding embedding(weights, "t", {16, 12}, 8);
  weights.Finish();
  for (const DType compute : kActivationTypes) {
    const Tensor features = TimestepFeatures(3.5f, 16).To(compute);
    Tensor inner = Poisoned({1, 12}, DType::kF32), expected = Poisoned({1, 8}, DType::kF32);
    reference::Gemm(features, w1, Tensor(), inner);
    for (float& x : std::span(inner.mutable_data<float>(), 12)) x = x / (1.0f + std::exp(-x));
    reference::Gemm(inner, w2, Tensor(), expected);
    Workspace workspace;
    EXPECT_LE(RelativeDifference(embedding.Forward(3.5f, compute, workspace), expected), 1e-6) << Name(compute);
  }
}

TEST(RotaryTest, AxesRotateTheirOwnPairs) {
  Tensor ids = Tensor::Empty({3, 2}, DType::kF32);
  const float positions[] = {0, 5, -7, 100, 2.5f, 1};
  std::memcpy(ids.mutable_raw(), positions, sizeof positions);
  const RotaryTable table = AxisRotary(ids, {4, 6}, 2000.0);
  ASSERT_EQ(table.cos.shape(), Shape({3, 5}));
  ASSERT_EQ(table.sin.shape(), Shape({3, 5}));
  for (int token = 0; token < 3; ++token) {
    for (int pair = 0; pair < 5; ++pair) {
      const int axis = pair < 2 ? 0 : 1, i = pair < 2 ? pair : pair - 2;
      const double angle =
          static_cast<double>(positions[token * 2 + axis]) * std::pow(2000.0, -2.0 * i / (axis == 0 ? 4 : 6));
      EXPECT_FLOAT_EQ(table.cos.data<float>()[token * 5 + pair], static_cast<float>(std::cos(angle)));
      EXPECT_FLOAT_EQ(table.sin.data<float>()[token * 5 + pair], static_cast<float>(std::sin(angle)));
    }
  }
}

TEST(RotaryTest, WholeNumberPositionsGiveTheSameTable) {
  Tensor whole = Tensor::Empty({2, 1}, DType::kI64), real = Tensor::Empty({2, 1}, DType::kF32);
  whole.mutable_data<int64_t>()[0] = 3, whole.mutable_data<int64_t>()[1] = 1000;
  real.mutable_data<float>()[0] = 3, real.mutable_data<float>()[1] = 1000;
  EXPECT_TRUE(SameBytes(AxisRotary(whole, {8}, 1e4).cos, AxisRotary(real, {8}, 1e4).cos));
}

TEST(RotaryTest, SequencesCountFromZero) {
  const RotaryTable table = SequenceRotary(600, 128, 1e6);
  ASSERT_EQ(table.cos.shape(), Shape({600, 64}));
  for (int token : {0, 1, 599}) {
    for (int i = 0; i < 64; ++i) {
      // Angles are f32 products: near 599 the spacing is 6e-5.
      const double angle = token * std::pow(1e6, -2.0 * i / 128.0);
      EXPECT_NEAR(static_cast<double>(table.cos.data<float>()[token * 64 + i]), std::cos(angle), 1e-4);
      EXPECT_NEAR(static_cast<double>(table.sin.data<float>()[token * 64 + i]), std::sin(angle), 1e-4);
    }
  }
}

}  // namespace
}  // namespace tessera
