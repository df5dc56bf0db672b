#include "layers/linear.h"

#include <fmt/format.h>

#include "base/error.h"

namespace tessera {

#define X(name) extern const LinearFormat name##_linear_format;
#include "linear_format.inc"
#undef X

namespace {

#define X(name) &name##_linear_format,
constexpr const LinearFormat* kFormats[] = {
#include "linear_format.inc"
};
#undef X

const LinearFormat& FormatOf(const WeightMap& weights, const std::string& prefix) {
  std::string known;
  for (const LinearFormat* format : kFormats) {
    if (format->recognises(weights, prefix)) return *format;
    known += fmt::format("{}{}", known.empty() ? "" : ", ", format->name);
  }
  const Tensor& weight = weights.Peek(prefix + ".weight");  // throws when it is not there at all
  throw Error(ErrorKind::kFormat,
              fmt::format("{}: linear layer '{}' has a weight of type {} that no format reads; formats: {}",
                          weights.name(), prefix, Name(weight.dtype()), known));
}

}  // namespace

Linear::Linear(WeightMap& weights, const std::string& prefix, const LinearShape& shape)
    : shape_(shape), weight_(FormatOf(weights, prefix).load(weights, prefix, shape)) {}

void Linear::Forward(const Tensor& src, Tensor& dst, Workspace& workspace) const noexcept {
  TESSERA_CHECK(weight_ != nullptr);
  weight_->Multiply(src, dst, workspace);
}

Tensor Linear::Forward(const Tensor& src, DType dst_dtype, Workspace& workspace) const noexcept {
  Shape shape = src.shape();
  shape[src.rank() - 1] = shape_.out_features;
  Tensor dst = workspace.Take(shape, dst_dtype);
  Forward(src, dst, workspace);
  return dst;
}

size_t Linear::WorkspaceBytes(int64_t rows, DType src_dtype) const noexcept {
  return weight_->WorkspaceBytes(rows, src_dtype);
}

}  // namespace tessera
