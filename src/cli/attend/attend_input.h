// What `tessera attend` reads: tensors and metadata of a safetensors file, as calls of attention.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "attention/backend.h"
#include "tensor/tensor.h"
#include "weights/safetensors.h"

namespace tessera {

// What the command line says about the calls; what it leaves open comes from the file.
struct AttendWishes {
  std::vector<std::string> runs;  // names in the file's `runs`, in order; "all" is every one; empty: the first
  std::string problem;            // "": the file's
  std::optional<DType> dtype;     // in place of the problem's
  std::optional<Options> options;
  std::optional<int> step, layer;
};

// One call of attention with everything the problem asks for, in the problem's dtype.
struct AttendCall {
  std::string run;  // "" in a file without runs
  AttentionProblem problem;
  DType out_dtype = DType::kF32;  // to write: f32 when q or the problem is, else the problem's
  Options options;
  Tensor q, k, v;  // [batch, seq, heads, head_dim], contiguous
  Tensor gate;     // likewise, when the problem has one
  Tensor bias;     // [1 or batch, 1 or heads, 1 or q_len, kv_len]
  std::vector<int32_t> key_lengths, cu_seqlens_q, cu_seqlens_k;
  Tensor expected_out, expected_mask;                 // `out` and `block_mask` of the file, when they are there
  std::vector<int32_t> q_init_tokens, k_init_tokens;  // [heads, clusters]: where a clustering starts; may be empty
  std::vector<std::string> notes;                     // what was converted or left aside, for people
};

// A file with its runs. Throws Error{kIo, kFormat, kUsage} in one line for whatever does not fit.
class AttendInput {
 public:
  explicit AttendInput(const std::filesystem::path& path);

  // `backend`: the file's own configuration is for its own backend, others do not get it.
  std::vector<AttendCall> Calls(const AttentionBackend& backend, const AttendWishes& wishes) const;

 private:
  struct Run {
    std::string name;
    std::string problem;
    std::string config;  // JSON text or ""
    std::optional<int> step, layer;
  };
  void ReadRuns(const std::string& text);
  std::vector<Run> Chosen(const std::vector<std::string>& names) const;
  const Run& FindRun(const std::string& name) const;
  AttendCall Read(const Run& run, const AttentionBackend& backend, const AttendWishes& wishes) const;
  AttentionProblem ProblemOf(const Run& run, const AttendWishes& wishes) const;
  Options OptionsOf(const Run& run, const AttentionBackend& backend) const;
  std::string SuggestedLine() const;
  std::string KeyOf(const Run& run, const std::string& name) const;  // "run.name", else "name"; "": neither
  Tensor Optional(const Run& run, const std::string& name) const;
  [[noreturn]] void Refuse(const std::string& what) const;

  std::filesystem::path path_;
  SafetensorsFile file_;
  std::vector<Run> runs_;  // at least one; a file without runs is one without a name
};

}  // namespace tessera
