// GroupNorm over channels-last pictures: statistics over fixed parts of the picture, combined in a fixed order.
#include <algorithm>
#include <array>
#include <cmath>

#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/row_kernels.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr int64_t kMaxChannels = 4096, kMaxGroups = 64;
constexpr int64_t kMaxParts = 64;  // of a picture: a function of its size only, whatever the number of threads
constexpr int64_t kSmallestPart = 64;

// Count, mean and sum of squared deviations of some values.
struct Moments {
  double count = 0, mean = 0, deviation = 0;
};

// Chan, Golub, LeVeque (1983): the moments of both sets together.
Moments Merge(const Moments& a, const Moments& b) noexcept {
  const double count = a.count + b.count, difference = b.mean - a.mean;
  return {count, a.mean + difference * b.count / count,
          a.deviation + b.deviation + difference * difference * a.count * b.count / count};
}

using GroupMoments = std::array<Moments, kMaxGroups>;
using ChannelFloats = std::array<float, kMaxChannels>;
struct ChannelSums {
  std::array<double, kMaxChannels> sums, squares;
};

GroupMoments PartMoments(const GroupNormRows& rows, int64_t groups, int64_t begin, int64_t end) noexcept {
  ChannelSums totals;
  std::fill_n(totals.sums.begin(), rows.channels, 0.0);
  std::fill_n(totals.squares.begin(), rows.channels, 0.0);
  ActiveRowKernels().group_sums(rows, begin, end, {totals.sums.data(), totals.squares.data()});
  GroupMoments moments;
  const auto count = static_cast<double>(end - begin);
  for (int64_t c = 0; c < rows.channels; ++c) {
    const auto i = static_cast<size_t>(c);
    const double offset = totals.sums[i] / count;
    const Moments channel{count, static_cast<double>(rows.pivot[c]) + offset,
                          std::max(0.0, totals.squares[i] - totals.sums[i] * offset)};
    Moments& group = moments[static_cast<size_t>(c / (rows.channels / groups))];
    group = group.count == 0 ? channel : Merge(group, channel);
  }
  return moments;
}

GroupMoments PictureMoments(const GroupNormRows& rows, int64_t groups, int64_t pixels) noexcept {
  const int64_t part = std::max(kSmallestPart, (pixels + kMaxParts - 1) / kMaxParts);
  const int64_t parts = (pixels + part - 1) / part;
  std::array<GroupMoments, kMaxParts> partial;
  ParallelFor(parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      partial[static_cast<size_t>(i)] = PartMoments(rows, groups, i * part, std::min(pixels, (i + 1) * part));
    }
  });
  GroupMoments total = partial[0];
  for (int64_t i = 1; i < parts; ++i) {
    for (size_t g = 0; g < static_cast<size_t>(groups); ++g) {
      total[g] = Merge(total[g], partial[static_cast<size_t>(i)][g]);
    }
  }
  return total;
}

// The first pixel: subtracting it keeps the sums of squares free of cancellation when the mean is large.
void PivotOf(const Tensor& picture, int64_t channels, float* pivot) noexcept {
  for (int64_t c = 0; c < channels; ++c) {
    pivot[c] = picture.dtype() == DType::kF32 ? static_cast<const float*>(picture.raw())[c]
                                              : ToFloat(static_cast<const BFloat16*>(picture.raw())[c]);
  }
}

void NormPicture(GroupNormRows rows, const float* weight, const GroupNormShape& shape, int64_t pixels) noexcept {
  const GroupMoments moments = PictureMoments(rows, shape.groups, pixels);
  ChannelFloats mean, scale;
  for (int64_t c = 0; c < rows.channels; ++c) {
    const Moments& group = moments[static_cast<size_t>(c / (rows.channels / shape.groups))];
    const double deviation = std::sqrt(group.deviation / group.count + static_cast<double>(shape.eps));
    mean[static_cast<size_t>(c)] = static_cast<float>(group.mean);
    scale[static_cast<size_t>(c)] = static_cast<float>(static_cast<double>(weight[c]) / deviation);
  }
  rows.mean = mean.data();
  rows.scale = scale.data();
  constexpr int64_t kElementsPerPart = 1 << 14;
  ParallelFor(pixels, std::max<int64_t>(1, kElementsPerPart / rows.channels),
              [&](int64_t begin, int64_t end) { ActiveRowKernels().group_norm(rows, begin, end); });
}

Element TypeOf(const Tensor& tensor) noexcept {
  TESSERA_CHECK(tensor.contiguous() && (tensor.dtype() == DType::kF32 || tensor.dtype() == DType::kBF16));
  return tensor.dtype() == DType::kF32 ? Element::kF32 : Element::kBF16;
}

}  // namespace

void GroupNorm(const Tensor& src, const Tensor& weight, const Tensor& bias, const GroupNormShape& shape,
               Tensor& dst) noexcept {
  TESSERA_CHECK(src.rank() >= 2 && src.shape() == dst.shape());
  const int64_t channels = src.dim(src.rank() - 1), pixels = src.numel() / (src.dim(0) * channels);
  TESSERA_CHECK(channels <= kMaxChannels && shape.groups <= kMaxGroups && channels % shape.groups == 0);
  TESSERA_CHECK(weight.numel() == channels && bias.numel() == channels);
  for (int64_t n = 0; n < src.dim(0); ++n) {
    const Tensor from = src.Narrow(0, n, 1);
    Tensor to = dst.Narrow(0, n, 1);
    ChannelFloats pivot;
    PivotOf(from, channels, pivot.data());
    GroupNormRows rows;
    rows.src = {from.raw(), channels, TypeOf(src)};
    rows.dst = {to.mutable_raw(), channels, TypeOf(dst)};
    rows.channels = channels;
    rows.pivot = pivot.data();
    rows.shift = bias.data<float>();
    rows.silu = shape.activation == Activation::kSilu;
    NormPicture(rows, weight.data<float>(), shape, pixels);
  }
}

}  // namespace tessera
