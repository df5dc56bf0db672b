#include "kernels/elementwise/elementwise.h"

#include <functional>

#include "kernels/elementwise/reference.h"
#include "kernels_ops/operands.h"

namespace tessera {
namespace {

using ElementwiseTest = KernelTest;
// dst <- the operation, by the kernel or by the reference.
using Operation = std::function<void(Tensor& dst)>;

// On every instruction set: as the reference, and the same bytes with one and three threads.
void ExpectLikeReference(const Operation& kernel, const Operation& reference, const Tensor& start) {
  Tensor expected = start.Clone();
  reference(expected);
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    SetThreads(1);
    Tensor one = start.Clone();
    kernel(one);
    EXPECT_LE(RelativeDifference(one, expected), Tolerance(start.dtype())) << Name(isa);
    SetThreads(3);
    Tensor three = start.Clone();
    kernel(three);
    EXPECT_TRUE(SameBytes(one, three)) << Name(isa);
  }
}

constexpr int64_t kChannelCounts[] = {1, 7, 64, 129, 3072};

TEST_F(ElementwiseTest, LayerNormModulateMatchesReference) {
  for (const int64_t channels : kChannelCounts) {
    for (const DType from : kActivationTypes) {
      for (const DType to : kActivationTypes) {
        const Tensor src = RandomTensor({37, channels}, from, 1, 3.0f);
        const Tensor scale = RandomTensor({channels}, DType::kF32, 2), shift = RandomTensor({channels}, DType::kF32, 3);
        SCOPED_TRACE(testing::Message() << channels << " " << Name(from) << " " << Name(to));
        ExpectLikeReference([&](Tensor& dst) { LayerNormModulate(src, scale, shift, 1e-6f, dst); },
                            [&](Tensor& dst) { reference::LayerNormModulate(src, scale, shift, 1e-6f, dst); },
                            Poisoned(src.shape(), to));
      }
    }
  }
}

TEST_F(ElementwiseTest, RmsNormMatchesReference) {
  for (const int64_t channels : kChannelCounts) {
    for (const DType from : kActivationTypes) {
      for (const DType to : kActivationTypes) {
        const Tensor src = RandomTensor({37, channels}, from, 1), weight = RandomTensor({channels}, DType::kF32, 2);
        SCOPED_TRACE(testing::Message() << channels << " " << Name(from) << " " << Name(to));
        ExpectLikeReference([&](Tensor& dst) { RmsNorm(src, weight, 1e-6f, dst); },
                            [&](Tensor& dst) { reference::RmsNorm(src, weight, 1e-6f, dst); },
                            Poisoned(src.shape(), to));
      }
    }
  }
}

TEST_F(ElementwiseTest, QkNormRotaryMatchesReferenceWithRowStride) {
  for (const int64_t head_dim : {8, 14, 64, 90, 128}) {
    for (const DType dtype : kActivationTypes) {
      for (const RotaryKind kind : {RotaryKind::kInterleaved, RotaryKind::kHalfSplit}) {
        const int64_t tokens = 29, heads = 3;
        const Tensor cos = RandomTensor({tokens, head_dim / 2}, DType::kF32, 1);
        const Tensor sin = RandomTensor({tokens, head_dim / 2}, DType::kF32, 2);
        const Tensor weight = RandomTensor({head_dim}, DType::kF32, 3);
        // q lies in the middle of a fused projection's rows; what surrounds it must stay.
        const Tensor rows = RandomTensor({tokens, heads + 2, head_dim}, dtype, 4);
        const auto apply = [&](void (*kernel)(QkNormRotary&) noexcept, Tensor& all, int parts) {
          const Tensor x = all.Narrow(1, 1, heads);
          QkNormRotary operands{x, {}, {}, {}, 1e-6f, kind};
          if ((parts & 1) != 0) operands.weight = weight;
          if ((parts & 2) != 0) operands.cos = cos, operands.sin = sin;
          kernel(operands);
        };
        for (const int parts : {1, 2, 3}) {
          SCOPED_TRACE(testing::Message() << head_dim << " " << Name(dtype) << " parts " << parts);
          ExpectLikeReference([&](Tensor& all) { apply(ApplyQkNormRotary, all, parts); },
                              [&](Tensor& all) { apply(reference::ApplyQkNormRotary, all, parts); }, rows);
        }
      }
    }
  }
}

TEST_F(ElementwiseTest, AddGatedMatchesReference) {
  for (const int64_t channels : kChannelCounts) {
    for (const DType residual_type : kActivationTypes) {
      for (const DType update_type : kActivationTypes) {
        const Tensor update = RandomTensor({37, channels}, update_type, 1);
        for (const Tensor& gate : {RandomTensor({channels}, DType::kF32, 2), Tensor()}) {
          ExpectLikeReference([&](Tensor& dst) { AddGated(dst, update, gate); },
                              [&](Tensor& dst) { reference::AddGated(dst, update, gate); },
                              RandomTensor({37, channels}, residual_type, 3));
        }
      }
    }
  }
}

TEST_F(ElementwiseTest, SwiGluMatchesReferenceWithRowStrides) {
  for (const int64_t channels : kChannelCounts) {
    for (const DType from : kActivationTypes) {
      for (const DType to : kActivationTypes) {
        const Tensor wide = RandomTensor({37, 2 * channels + 9}, from, 1), src = wide.Narrow(1, 9, 2 * channels);
        // The destination is a part of wider rows whose other elements must stay.
        const auto apply = [&](void (*kernel)(const Tensor&, Tensor&) noexcept, Tensor& all) {
          Tensor dst = all.Narrow(1, 2, channels);
          kernel(src, dst);
        };
        ExpectLikeReference([&](Tensor& all) { apply(SwiGlu, all); },
                            [&](Tensor& all) { apply(reference::SwiGlu, all); },
                            RandomTensor({37, channels + 4}, to, 2));
      }
    }
  }
}

TEST_F(ElementwiseTest, ActivationsAndSumsMatchReference) {
  for (const DType from : kActivationTypes) {
    for (const DType to : kActivationTypes) {
      const Tensor a = RandomTensor({3, 19, 131}, from, 1), b = RandomTensor({3, 19, 131}, from, 2);
      const Tensor start = Poisoned(a.shape(), to);
      ExpectLikeReference([&](Tensor& dst) { Silu(a, dst); }, [&](Tensor& dst) { reference::Silu(a, dst); }, start);
      ExpectLikeReference([&](Tensor& dst) { Add(a, b, dst); }, [&](Tensor& dst) { reference::Add(a, b, dst); }, start);
      ExpectLikeReference([&](Tensor& dst) { SiluMultiply(a, b, dst); },
                          [&](Tensor& dst) { reference::SiluMultiply(a, b, dst); }, start);
      ExpectLikeReference([&](Tensor& dst) { GeluTanh(a, dst); }, [&](Tensor& dst) { reference::GeluTanh(a, dst); },
                          start);
      ExpectLikeReference([&](Tensor& dst) { GeluTanhMultiply(a, b, dst); },
                          [&](Tensor& dst) { reference::GeluTanhMultiply(a, b, dst); }, start);
    }
  }
}

TEST_F(ElementwiseTest, SiluIsAccurateEverywhereAndKeepsNan) {
  Tensor src = Tensor::Empty({4001}, DType::kF32), dst = Poisoned(src.shape(), DType::kF32);
  for (int64_t i = 0; i < src.numel(); ++i) src.mutable_data<float>()[i] = static_cast<float>(i - 2000) / 25.0f;
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    Silu(src, dst);
    for (int64_t i = 0; i < src.numel(); ++i) {
      const double x = static_cast<double>(src.data<float>()[i]), expected = x / (1 + std::exp(-x));
      ASSERT_NEAR(static_cast<double>(dst.data<float>()[i]), expected, 1e-6 * std::abs(expected)) << Name(isa) << x;
    }
    Tensor edge = Tensor::Empty({4}, DType::kF32);
    const float values[] = {std::numeric_limits<float>::quiet_NaN(), -1e30f, 1e30f, 0.0f};
    std::memcpy(edge.mutable_raw(), values, sizeof values);
    Silu(edge, edge);
    EXPECT_TRUE(std::isnan(edge.data<float>()[0]));
    EXPECT_NEAR(edge.data<float>()[1], 0.0f, 1e-5f);
    EXPECT_EQ(edge.data<float>()[2], 1e30f);
    EXPECT_EQ(edge.data<float>()[3], 0.0f);
  }
}

TEST_F(ElementwiseTest, GeluByTheErrorFunctionMatchesReference) {
  for (const DType dtype : kActivationTypes) {
    const Tensor src = RandomTensor({5, 77}, dtype, 1, 2.0f);
    ExpectLikeReference([&](Tensor& dst) { GeluErf(src, dst); }, [&](Tensor& dst) { reference::GeluErf(src, dst); },
                        Poisoned(src.shape(), dtype));
  }
}

TEST_F(ElementwiseTest, GeluVanishesFarBelowZeroAndIsTheIdentityFarAbove) {
  Tensor edge = Tensor::Empty({4}, DType::kF32);
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    const float values[] = {std::numeric_limits<float>::quiet_NaN(), -1e30f, 1e30f, 0.0f};
    std::memcpy(edge.mutable_raw(), values, sizeof values);
    GeluTanh(edge, edge);
    EXPECT_TRUE(std::isnan(edge.data<float>()[0]));
    EXPECT_NEAR(edge.data<float>()[1], 0.0f, 1e-5f) << Name(isa);
    EXPECT_EQ(edge.data<float>()[2], 1e30f);
    EXPECT_EQ(edge.data<float>()[3], 0.0f);
  }
}

TEST_F(ElementwiseTest, GroupNormMatchesReference) {
  struct Case {
    Shape shape;
    int64_t groups;
    float mean;
  };
  const Case cases[] = {
      {{2, 9, 11, 64}, 32, 0}, {{1, 40, 33, 6}, 3, 100.0f}, {{1, 67, 71, 32}, 8, -3.0f}, {{1, 1, 1, 20}, 5, 1}};
  for (const Case& c : cases) {
    const int64_t channels = c.shape[3];
    const Tensor weight = RandomTensor({channels}, DType::kF32, 1), bias = RandomTensor({channels}, DType::kF32, 2);
    for (const DType from : kActivationTypes) {
      for (const DType to : kActivationTypes) {
        for (const Activation activation : {Activation::kNone, Activation::kSilu}) {
          const Tensor src = RandomTensor(c.shape, from, 3, c.mean);
          const GroupNormShape shape{c.groups, 1e-6f, activation};
          SCOPED_TRACE(testing::Message() << c.shape.ToString() << " " << Name(from) << " " << Name(to));
          ExpectLikeReference([&](Tensor& dst) { GroupNorm(src, weight, bias, shape, dst); },
                              [&](Tensor& dst) { reference::GroupNorm(src, weight, bias, shape, dst); },
                              Poisoned(c.shape, to));
        }
      }
    }
  }
}

TEST_F(ElementwiseTest, UpsampleRepeatsEveryPixel) {
  for (const DType dtype : kActivationTypes) {
    const Tensor src = RandomTensor({2, 5, 7, 3}, dtype, 1);
    ExpectLikeReference([&](Tensor& dst) { UpsampleNearest2x(src, dst); },
                        [&](Tensor& dst) { reference::UpsampleNearest2x(src, dst); }, Poisoned({2, 10, 14, 3}, dtype));
  }
}

}  // namespace
}  // namespace tessera
