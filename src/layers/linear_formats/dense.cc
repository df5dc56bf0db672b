// Weights stored as plain f32, bf16 or f16 matrices [out, in], multiplied where they lie in the file.
#include "kernels/linear/gemm.h"
#include "layers/linear.h"

namespace tessera {
namespace {

class DenseWeight final : public LinearWeight {
 public:
  DenseWeight(Tensor weight, Tensor bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}

  void Multiply(const Tensor& src, Tensor& dst, Workspace& workspace) const noexcept override {
    Gemm(src, weight_, bias_, dst, workspace);
  }
  size_t WorkspaceBytes(int64_t rows, DType src_dtype) const noexcept override {
    return GemmWorkspaceBytes(rows, weight_.dim(1), weight_.dim(0), src_dtype, weight_.dtype());
  }

 private:
  Tensor weight_;  // [out, in]
  Tensor bias_;    // [out] f32, or undefined
};

bool Recognises(const WeightMap& weights, const std::string& prefix) {
  const std::string key = prefix + ".weight";
  if (!weights.Contains(key)) return false;
  const DType dtype = weights.Peek(key).dtype();
  return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

std::unique_ptr<LinearWeight> Load(WeightMap& weights, const std::string& prefix, const LinearShape& shape) {
  Tensor weight = weights.Take(prefix + ".weight", {shape.out_features, shape.in_features});
  Tensor bias;
  if (shape.bias == LinearShape::Bias::kRequired) bias = weights.TakeF32(prefix + ".bias", {shape.out_features});
  return std::make_unique<DenseWeight>(std::move(weight), std::move(bias));
}

}  // namespace

extern const LinearFormat dense_linear_format;
constinit const LinearFormat dense_linear_format = {"dense", Recognises, Load};

}  // namespace tessera
