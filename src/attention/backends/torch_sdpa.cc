// Scaled dot product attention in its full generality: every mask, bias, head dim and layout, in f32 arithmetic.
#include "attention/block_plan.h"
#include "attention/registry.h"
#include "base/check.h"
#include "kernels/attention/exact.h"

namespace tessera {
namespace {

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, 1024, 1},
    .masks = kMaskCausal | kMaskCausalTopLeft | kMaskKeyLengths | kMaskVarlen | kMaskBias,
    .grouped_kv = true,
    .cross = true,
    .lse = true,
    .walks_blocks = true,
};

HeadRows<const void*> Rows(const BshdIn& in) { return {in.elements, in.batch_stride, in.seq_stride, in.head_stride}; }

PositionBlocks Positions(const BlockPlan::Blocks& blocks, int32_t count, bool per_head, int64_t length) {
  return {.offsets = blocks.offsets.data(),
          .permutation = blocks.permutation.empty() ? nullptr : blocks.permutation.data(),
          .count = count,
          .offsets_stride = per_head ? count + 1 : 0,
          .permutation_stride = per_head ? length : 0};
}

BlockLists Lists(const BlockPlan& plan, const AttentionProblem& problem) {
  return {.q = Positions(plan.q, plan.q_blocks, plan.per_head, problem.q_len),
          .kv = Positions(plan.kv, plan.kv_blocks, plan.per_head, problem.kv_len),
          .row_begin = plan.row_begin.data(),
          .kv_list = plan.kv_list.data(),
          .query_masks = plan.query_masks.empty() ? nullptr : plan.query_masks.data(),
          .mask_words = plan.mask_words};
}

// What the problem's masks need must be there; what it does not mention must not be looked at.
void CheckMasks(const AttentionProblem& problem, const AttentionIO& io) {
  const auto batch = static_cast<size_t>(problem.batch);
  if ((problem.mask & kMaskBias) != 0) {
    const DType dtype = io.bias.dtype;
    TESSERA_CHECK(io.bias.elements != nullptr || problem.kv_len == 0 || problem.q_len == 0);
    TESSERA_CHECK(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16 || dtype == DType::kBool);
  }
  if ((problem.mask & kMaskKeyLengths) != 0) TESSERA_CHECK(io.key_lengths.size() == batch);
  if ((problem.mask & kMaskVarlen) != 0) {
    TESSERA_CHECK(!io.cu_seqlens_q.empty() && io.cu_seqlens_q.size() == io.cu_seqlens_k.size());
    TESSERA_CHECK(io.cu_seqlens_q.back() <= problem.q_len && io.cu_seqlens_k.back() <= problem.kv_len);
  }
}

class ExactPlan final : public AttentionPlan {
 public:
  ExactPlan(const AttentionProblem& problem, int threads) : problem_(problem), threads_(threads) {}

  size_t workspace_bytes() const noexcept override { return ExactAttentionWorkspaceBytes(problem_.head_dim, threads_); }

  void Run(const AttentionIO& io, std::span<std::byte> workspace) noexcept override {
    CheckMasks(problem_, io);
    ExactAttention call = Call(io);
    if ((problem_.mask & kMaskKeyLengths) != 0) call.key_lengths = io.key_lengths.data();
    if ((problem_.mask & kMaskVarlen) != 0) {
      call.cu_seqlens_q = io.cu_seqlens_q.data();
      call.cu_seqlens_k = io.cu_seqlens_k.data();
      call.sequences = static_cast<int64_t>(io.cu_seqlens_q.size()) - 1;
    }
    if ((problem_.mask & kMaskBias) != 0) {
      call.bias = {io.bias.elements, io.bias.dtype, io.bias.batch_stride, io.bias.head_stride, io.bias.query_stride};
    }
    BlockLists lists;
    if (io.blocks != nullptr) {
      lists = Lists(*io.blocks, problem_);
      call.blocks = &lists;
    }
    RunExactAttention(call, workspace);
  }

 private:
  CausalAlignment Causal() const {
    return (problem_.mask & kMaskCausal) != 0          ? CausalAlignment::kBottomRight
           : (problem_.mask & kMaskCausalTopLeft) != 0 ? CausalAlignment::kTopLeft
                                                       : CausalAlignment::kNone;
  }

  ExactAttention Call(const AttentionIO& io) const {
    return {.dtype = problem_.dtype,
            .batch = problem_.batch,
            .heads = problem_.heads,
            .kv_heads = problem_.kv_heads,
            .head_dim = problem_.head_dim,
            .q_len = problem_.q_len,
            .kv_len = problem_.kv_len,
            .scale = problem_.softmax_scale(),
            .q = Rows(io.q),
            .k = Rows(io.k),
            .v = Rows(io.v),
            .out = {io.out.elements, io.out.batch_stride, io.out.seq_stride, io.out.head_stride},
            .lse = problem_.needs_lse ? io.lse : nullptr,
            .causal = Causal(),
            .bias = {}};
  }

  AttentionProblem problem_;
  int threads_;
};

// Against flash attention's 1: the same f32 products, but tiles are widened again for every query tile.
double Speed(const AttentionProblem&, const Device&) { return 0.5; }

std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device, const Options&) {
  return std::make_unique<ExactPlan>(problem, device.threads);
}

}  // namespace

constinit const AttentionBackend k_torch_sdpa_backend{
    .name = "torch_sdpa",
    .aliases = "sdpa native _native_math",
    .summary = "scaled dot product attention, any mask, bias and head dim",
    .caps = kCaps,
    .options = {},
    .stands_in_for = "torch_cudnn_sdpa cudnn_sdpa dynamic_cudnn_sdpa _native_cudnn _native_xla",
    .check = nullptr,
    .speed = Speed,
    .plan = Plan,
};

}  // namespace tessera
