// What a run measured: stage and step times, memory, attention. Feeds the summary line, the performance JSON and the
// pictures' metadata.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "attention/layer.h"
#include "base/resident_memory.h"

namespace tessera {

struct MemoryCheckpoint {
  double allocated_mb = 0, peak_allocated_mb = 0;  // resident set of this process, now and at most
};

class Report {
 public:
  // Adds to the stage's time (stages that run once per picture are summed), keeping first-execution order.
  void AddStage(const std::string& name, double seconds);
  void AddStep(double seconds) { step_seconds_.push_back(seconds); }
  void AddMemory(const std::string& name);
  void SetAttention(std::vector<AttentionRecord> records) { attention_ = std::move(records); }
  void SetTotal(double seconds) { total_seconds_ = seconds; }

  const std::vector<std::pair<std::string, double>>& stages() const noexcept { return stages_; }
  const std::vector<double>& step_seconds() const noexcept { return step_seconds_; }
  const std::vector<AttentionRecord>& attention() const noexcept { return attention_; }
  double total_seconds() const noexcept { return total_seconds_; }
  double StageSeconds() const noexcept;  // of all stages so far

  // One line: stage times, peak memory, the attention backend of each kind of site.
  std::string Summary() const;
  // "transformer.joint=fa vae.vae=torch_sdpa": what ran, for metadata.
  std::string AttentionSummary() const;
  nlohmann::json AttentionJson() const;
  // SGLang's performance dump (timestamp, steps, denoise_steps_ms, memory_checkpoints, meta) in its order, with
  // attention rows added.
  nlohmann::ordered_json ToJson(const std::string& prompt, const std::string& model) const;

 private:
  std::vector<std::pair<std::string, double>> stages_;
  std::vector<double> step_seconds_;
  std::vector<std::pair<std::string, MemoryCheckpoint>> memory_;
  std::vector<AttentionRecord> attention_;
  double total_seconds_ = 0;
};

}  // namespace tessera
