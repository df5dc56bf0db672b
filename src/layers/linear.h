// A linear layer that hides how its weight is stored.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "tensor/tensor.h"
#include "tensor/workspace.h"
#include "weights/weight_map.h"

namespace tessera {

// One weight format (dense f32/bf16/f16 now; int8, fp8, GGUF later): one file in layers/linear_formats/, one line
// there.
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;
  // dst[rows, out] = src[rows, in] * W^T + bias. src is contiguous f32 or bf16, dst contiguous f32 or bf16; f32
  // accumulation. Same bytes for any number of threads.
  virtual void Multiply(const Tensor& src, Tensor& dst, Workspace& workspace) const noexcept = 0;
  // Scratch that Multiply takes for `rows` rows of `src_dtype`.
  virtual size_t WorkspaceBytes(int64_t rows, DType src_dtype) const noexcept = 0;
};

struct LinearShape {
  int64_t in_features = 0, out_features = 0;
  enum class Bias { kNone, kRequired } bias = Bias::kNone;
};

struct LinearFormat {
  std::string_view name;
  // Whether the tensors under `prefix` are in this format.
  bool (*recognises)(const WeightMap& weights, const std::string& prefix);
  std::unique_ptr<LinearWeight> (*load)(WeightMap& weights, const std::string& prefix, const LinearShape& shape);
};

class Linear {
 public:
  Linear() = default;
  // Takes `<prefix>.weight` [out, in] (used as it lies in the file) and `<prefix>.bias` [out]. Throws Error{kFormat}.
  Linear(WeightMap& weights, const std::string& prefix, const LinearShape& shape);

  // src [rows, in], dst [rows, out]; see LinearWeight::Multiply.
  void Forward(const Tensor& src, Tensor& dst, Workspace& workspace) const noexcept;
  // The same into fresh workspace memory of dtype `dst_dtype`.
  Tensor Forward(const Tensor& src, DType dst_dtype, Workspace& workspace) const noexcept;

  int64_t in_features() const noexcept { return shape_.in_features; }
  int64_t out_features() const noexcept { return shape_.out_features; }
  size_t WorkspaceBytes(int64_t rows, DType src_dtype) const noexcept;

 private:
  LinearShape shape_;
  std::string label_;                           // what follows the first number of its name: the same in every block
  std::shared_ptr<const LinearWeight> weight_;  // shared by copies of the layer
};

}  // namespace tessera
