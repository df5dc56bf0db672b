#include "attention/plugin_plan.h"

#include <array>
#include <cstdio>

#include <fmt/format.h>

#include "attention/block_plan.h"
#include "attention/plugin_sheet.h"
#include "base/error.h"
#include "base/text.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr size_t kMostWorkspace = size_t{1} << 40;

// A text that a library fills, whatever it does with the terminating zero.
using ErrorText = std::array<char, 512>;

std::string_view TextIn(const ErrorText& text) noexcept { return {text.data(), strnlen(text.data(), text.size())}; }

uint32_t DTypeBit(DType dtype) noexcept {
  return dtype == DType::kF32    ? TESSERA_ATTENTION_F32
         : dtype == DType::kBF16 ? TESSERA_ATTENTION_BF16
         : dtype == DType::kF16  ? TESSERA_ATTENTION_F16
                                 : TESSERA_ATTENTION_BOOL;
}

void Parallel(int64_t count, tessera_attention_body body, void* context) {
  ParallelItems(count, [&](int64_t item, int thread) { body(context, item, thread); });
}

tessera_attention_input InputOf(const BshdIn& view) noexcept {
  return {view.elements, view.batch_stride, view.seq_stride, view.head_stride};
}

tessera_attention_blocks_side SideOf(const BlockPlan::Blocks& blocks) noexcept {
  return {blocks.offsets.data(), blocks.permutation.empty() ? nullptr : blocks.permutation.data()};
}

tessera_attention_blocks BlocksOf(const BlockPlan& plan) noexcept {
  return {.struct_size = sizeof(tessera_attention_blocks),
          .per_head = plan.per_head ? 1 : 0,
          .q_blocks = plan.q_blocks,
          .kv_blocks = plan.kv_blocks,
          .q = SideOf(plan.q),
          .kv = SideOf(plan.kv),
          .row_begin = plan.row_begin.data(),
          .kv_list = plan.kv_list.data(),
          .query_masks = plan.query_masks.empty() ? nullptr : plan.query_masks.data(),
          .mask_words = plan.mask_words};
}

class PluginPlan final : public AttentionPlan {
 public:
  PluginPlan(const tessera_attention_backend& backend, const AttentionProblem& problem, tessera_attention_plan* plan)
      : backend_(backend), needs_lse_(problem.needs_lse), plan_(plan), workspace_bytes_(backend.plan_workspace(plan)) {}
  ~PluginPlan() override { backend_.plan_destroy(plan_); }
  PluginPlan(const PluginPlan&) = delete;
  PluginPlan& operator=(const PluginPlan&) = delete;

  size_t workspace_bytes() const noexcept override { return workspace_bytes_; }
  void BeginRequest(const DenoisingOutline&) override { step_ = -1; }
  void BeginStep(int step) noexcept override { step_ = step; }
  std::string_view failure() const noexcept override { return TextIn(failure_); }

  void Run(const AttentionIO& io, std::span<std::byte> workspace) noexcept override {
    tessera_attention_blocks blocks{};
    tessera_attention_io given = Given(io);
    if (io.blocks != nullptr) {
      blocks = BlocksOf(*io.blocks);
      given.blocks = &blocks;
    }
    ErrorText text{};
    const int code = backend_.plan_run(plan_, &given, workspace.data(), text.data(), text.size());
    if (code == TESSERA_ATTENTION_OK || failure_[0] != '\0') return;
    failure_ = text;
    if (text[0] == '\0') std::snprintf(failure_.data(), failure_.size(), "code %d without a text", code);
  }

 private:
  tessera_attention_io Given(const AttentionIO& io) const noexcept {
    const auto sequences = io.cu_seqlens_q.empty() ? 0 : static_cast<int32_t>(io.cu_seqlens_q.size()) - 1;
    return {.struct_size = sizeof(tessera_attention_io),
            .sequences = sequences,
            .q = InputOf(io.q),
            .k = InputOf(io.k),
            .v = InputOf(io.v),
            .out = {io.out.elements, io.out.batch_stride, io.out.seq_stride, io.out.head_stride},
            .lse = needs_lse_ ? io.lse : nullptr,
            .bias = {io.bias.elements, DTypeBit(io.bias.dtype), io.bias.batch_stride, io.bias.head_stride,
                     io.bias.query_stride},
            .key_lengths = io.key_lengths.data(),
            .cu_seqlens_q = io.cu_seqlens_q.data(),
            .cu_seqlens_kv = io.cu_seqlens_k.data(),
            .blocks = nullptr,
            .step = step_,
            .layer = io.place.layer,
            .pass = io.place.pass,
            .parallel = Parallel,
            .stream = nullptr};
  }

  const tessera_attention_backend& backend_;
  const bool needs_lse_;
  tessera_attention_plan* const plan_;
  const size_t workspace_bytes_;
  ErrorText failure_{};
  int step_ = -1;
};

struct Created {
  int code;
  tessera_attention_plan* plan;
};

Created Create(const tessera_attention_backend& backend, const tessera_attention_problem& asked,
               const std::vector<tessera_attention_setting>& settings, ErrorText* text) {
  tessera_attention_plan* plan = nullptr;
  try {
    const int code = backend.plan_create(&asked, settings.data(), static_cast<uint32_t>(settings.size()), &plan,
                                         text->data(), text->size());
    return {code, plan};
  } catch (...) {
    std::snprintf(text->data(), text->size(), "it threw an exception");
    return {TESSERA_ATTENTION_FAILED, nullptr};
  }
}

}  // namespace

tessera_attention_problem PluginProblem(const AttentionProblem& problem, const Device& device) noexcept {
  const VideoGrid grid = problem.grid.value_or(VideoGrid{});
  return {.struct_size = sizeof(tessera_attention_problem),
          .device = Bit(device.kind),
          .dtype = DTypeBit(problem.dtype),
          .mask = problem.mask,
          .batch = problem.batch,
          .q_len = problem.q_len,
          .kv_len = problem.kv_len,
          .heads = problem.heads,
          .kv_heads = problem.kv_heads,
          .head_dim = problem.head_dim,
          .needs_lse = problem.needs_lse ? 1 : 0,
          .threads = device.threads,
          .scale = problem.softmax_scale(),
          .grid_t = grid.t,
          .grid_h = grid.h,
          .grid_w = grid.w,
          .grid_prefix = grid.prefix,
          .grid_suffix = grid.suffix};
}

std::unique_ptr<AttentionPlan> MakePluginPlan(const tessera_attention_backend& backend, const AttentionProblem& problem,
                                              const Device& device, const Options& options) {
  std::vector<std::string> texts;
  for (const auto& [key, value] : options.values()) texts.push_back(OptionText(value));
  std::vector<tessera_attention_setting> settings;
  for (size_t i = 0; i < texts.size(); ++i) settings.push_back({options.values()[i].first.c_str(), texts[i].c_str()});

  ErrorText text{};
  const Created created = Create(backend, PluginProblem(problem, device), settings, &text);
  const auto refuse = [&](ErrorKind kind, std::string_view why) {
    throw Error(kind, fmt::format("attention backend '{}' cannot plan '{}': {}", backend.name, Print(problem), why));
  };
  if (created.code != TESSERA_ATTENTION_OK) {
    if (created.plan != nullptr) backend.plan_destroy(created.plan);
    const std::string_view why = TextIn(text);
    refuse(created.code == TESSERA_ATTENTION_NO_MEMORY ? ErrorKind::kMemory : ErrorKind::kUnsupported,
           why.empty() ? fmt::format("code {} without a text", created.code) : Printable(why, 300));
  }
  if (created.plan == nullptr) refuse(ErrorKind::kFormat, "the plug-in gave no plan (NULL)");
  auto plan = std::make_unique<PluginPlan>(backend, problem, created.plan);
  if (plan->workspace_bytes() > kMostWorkspace) {
    refuse(ErrorKind::kFormat, fmt::format("the plug-in asks for {} bytes of workspace", plan->workspace_bytes()));
  }
  return plan;
}

}  // namespace tessera
