// Adds up what a forward pass costs from shapes alone: the same takes and products as the pass itself, without memory.
#pragma once
#include <algorithm>

#include "kernels/linear/gemm.h"
#include "models/forward_context.h"

namespace tessera {

class CostMeter {
 public:
  // These mirror Workspace.
  void TakeBytes(size_t bytes) noexcept {
    used_ += (std::max<size_t>(bytes, 1) + 63) / 64 * 64;
    Peak(0);
  }
  void Take(const Shape& shape, DType dtype) noexcept { TakeBytes(static_cast<size_t>(shape.numel()) * SizeOf(dtype)); }
  // A product of Linear into memory that was taken before; scratch for whatever float type the weight turns out to
  // have.
  void Linear(int64_t rows, int64_t in, int64_t out, DType src) noexcept {
    cost_.linear_flops += 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
    size_t scratch = 0;
    for (const DType weight : {DType::kF32, DType::kBF16, DType::kF16}) {
      scratch = std::max(scratch, GemmWorkspaceBytes(rows, in, out, src, weight));
    }
    Peak(scratch);
  }
  // The same into fresh memory.
  void LinearInto(const Shape& dst, DType dst_dtype, int64_t in, DType src) noexcept {
    Take(dst, dst_dtype);
    Linear(dst[0], in, dst[1], src);
  }
  void Attention(const AttentionProblem& problem) noexcept { cost_.attention_flops += problem.flops(); }
  void Convolution(double flops, size_t scratch) noexcept {
    cost_.convolution_flops += flops;
    Peak(scratch);
  }
  const Cost& cost() const noexcept { return cost_; }

  class Scope {
   public:
    explicit Scope(CostMeter& meter) noexcept : meter_(meter), used_(meter.used_) {}
    ~Scope() { meter_.used_ = used_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    CostMeter& meter_;
    size_t used_;
  };

 private:
  void Peak(size_t scratch) noexcept { cost_.workspace_bytes = std::max(cost_.workspace_bytes, used_ + scratch); }

  Cost cost_;
  size_t used_ = 0;
};

}  // namespace tessera
