#include "layers/linear.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "base/trace.h"

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

// "transformer_blocks.7.attn.to_out.0" -> "attn.to_out.0"
std::string LabelOf(const std::string& prefix) {
  const std::vector<std::string> parts = Split(prefix, '.');
  const auto number = std::ranges::find_if(parts, [](const std::string& part) { return ParseInt(part).has_value(); });
  if (number == parts.end() || number + 1 == parts.end()) return prefix;
  return Join(std::span(parts).subspan(static_cast<size_t>(number - parts.begin()) + 1), ".");
}

}  // namespace

Linear::Linear(WeightMap& weights, const std::string& prefix, const LinearShape& shape)
    : shape_(shape), label_(LabelOf(prefix)), weight_(FormatOf(weights, prefix).load(weights, prefix, shape)) {}

void Linear::Forward(const Tensor& src, Tensor& dst, Workspace& workspace) const noexcept {
  TESSERA_CHECK(weight_ != nullptr);
  const int64_t rows = src.numel() / shape_.in_features;
  const double products = static_cast<double>(rows * shape_.in_features) * static_cast<double>(shape_.out_features);
  const TraceScope trace(workspace.trace(), {.kind = TraceKind::kLinear,
                                             .name = label_,
                                             .sizes = {rows, shape_.in_features, shape_.out_features},
                                             .flops = 2 * products});
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
