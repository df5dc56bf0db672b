#include "layers/rotary.h"

#include <cmath>
#include <numeric>

namespace tessera {
namespace {

RotaryTable EmptyTable(int64_t tokens, int64_t pairs) {
  return {Tensor::Empty({tokens, pairs}, DType::kF32), Tensor::Empty({tokens, pairs}, DType::kF32)};
}

double Position(const Tensor& ids, int64_t token, int64_t axis) {
  const int64_t at = token * ids.stride(0) + axis * ids.stride(1);
  return ids.dtype() == DType::kF32 ? static_cast<double>(ids.data<float>()[at])
                                    : static_cast<double>(ids.data<int64_t>()[at]);
}

}  // namespace

RotaryTable AxisRotary(const Tensor& ids, const std::vector<int64_t>& axes_dims, double theta) {
  const int64_t tokens = ids.dim(0), pairs = std::accumulate(axes_dims.begin(), axes_dims.end(), int64_t{0}) / 2;
  TESSERA_CHECK(ids.rank() == 2 && ids.dim(1) == static_cast<int64_t>(axes_dims.size()));
  RotaryTable table = EmptyTable(tokens, pairs);
  auto *cos = table.cos.mutable_data<float>(), *sin = table.sin.mutable_data<float>();
  int64_t first = 0;
  for (size_t axis = 0; axis < axes_dims.size(); ++axis) {
    const int64_t dims = axes_dims[axis];
    for (int64_t i = 0; i < dims / 2; ++i) {
      const double frequency = 1.0 / std::pow(theta, static_cast<double>(2 * i) / static_cast<double>(dims));
      for (int64_t token = 0; token < tokens; ++token) {
        const double angle = Position(ids, token, static_cast<int64_t>(axis)) * frequency;
        cos[token * pairs + first + i] = static_cast<float>(std::cos(angle));
        sin[token * pairs + first + i] = static_cast<float>(std::sin(angle));
      }
    }
    first += dims / 2;
  }
  return table;
}

RotaryTable SequenceRotary(int64_t tokens, int64_t head_dim, double theta) {
  const int64_t pairs = head_dim / 2;
  RotaryTable table = EmptyTable(tokens, pairs);
  auto *cos = table.cos.mutable_data<float>(), *sin = table.sin.mutable_data<float>();
  for (int64_t i = 0; i < pairs; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
    const float frequency = 1.0f / std::pow(static_cast<float>(theta), exponent);
    for (int64_t token = 0; token < tokens; ++token) {
      const float angle = static_cast<float>(token) * frequency;
      cos[token * pairs + i] = std::cos(angle);
      sin[token * pairs + i] = std::sin(angle);
    }
  }
  return table;
}

}  // namespace tessera
