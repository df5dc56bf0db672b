#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "pipeline/resource_plan.h"
#include "pipeline/stage.h"
#include "text/tokenizer.h"

namespace tessera {
namespace {

class TextEncoding final : public Stage {
 public:
  std::string_view name() const noexcept override { return "TextEncodingStage"; }

  void Run(RunState& run) override {
    const auto folder = run.folder.path() / "tokenizer";
    tokenizer_ = LoadTokenizer(folder);
    padding_id_ = PaddingId(folder, *tokenizer_);
    std::vector<PromptTokens> tokens;
    for (const PromptState& prompt : run.prompts) tokens.push_back(Tokenize(run, prompt.prompt));
    if (run.guided()) tokens.push_back(Tokenize(run, run.request.negative_prompt.value_or("")));
    EncodeAll(run, tokens);
    run.report.AddMemory(std::string(name()));
  }

 private:
  PromptTokens Tokenize(const RunState& run, const std::string& prompt) const {
    const TextTask task = run.family->TextTasks(prompt, run.job.text_tokens).front();
    auto ids = tokenizer_->Encode(task.text);
    if (static_cast<int64_t>(ids.size()) > run.job.text_tokens) {
      Log(LogLevel::kWarning,
          fmt::format("prompt of {} tokens is cut to {} (--max-sequence-length)", ids.size(), run.job.text_tokens));
      ids = tokenizer_->EncodeAtMost(task.text, run.job.text_tokens);
    }
    CheckIds(ids, run.family->text_encoder().vocabulary_size());
    return PadRight(std::move(ids), run.job.text_tokens, padding_id_);
  }

  void CheckIds(const std::vector<int32_t>& ids, int64_t rows) const {
    for (const int32_t id : ids) {
      if (id >= 0 && id < rows) continue;
      throw Error(ErrorKind::kFormat,
                  fmt::format("tokenizer gives id {}, but the text encoder's embedding has {} rows", id, rows));
    }
  }

  static std::unique_ptr<TextEncoder> LoadEncoder(const RunState& run, const TextEncoderJob& job) {
    const TraceScope trace(run.trace.get(), LoadLabel("text_encoder"));
    return run.family->text_encoder().Load(run.folder.Weights("text_encoder"), job);
  }

  static void EncodeAll(RunState& run, const std::vector<PromptTokens>& tokens) {
    const auto& spec = run.family->text_encoder();
    const TextEncoderJob job = TextJob(run);
    const auto sites = spec.Sites(job);
    run.progress.Begin({"text encoding", "prompt", static_cast<int64_t>(tokens.size())});
    run.workspace.Reserve(spec.CostOf(job).workspace_bytes + run.attention.WorkspaceBytes(sites));
    auto encoder = LoadEncoder(run, job);
    ForwardContext context = run.forward();
    for (size_t i = 0; i < tokens.size(); ++i) {
      PromptEmbeds embeds{encoder->Encode(tokens[i], context).To(run.job.compute), tokens[i].valid};
      run.attention.CheckRuns();
      run.family->FinishPrompt(embeds);
      (i < run.prompts.size() ? run.prompts[i].embeds : run.negative_prompt) = std::move(embeds);
      run.progress.Advance();
    }
    run.progress.Finish();
    run.workspace.Release();
    if (run.request.keep_loaded.text_encoder.value_or(false)) run.text_encoder = std::move(encoder);
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  int32_t padding_id_ = 0;
};

}  // namespace

std::unique_ptr<Stage> TextEncodingStage() { return std::make_unique<TextEncoding>(); }

}  // namespace tessera
