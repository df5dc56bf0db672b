// Text encoders: token ids to the rows a denoiser reads.
#pragma once
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "models/forward_context.h"
#include "text/tokenizer.h"
#include "weights/model_folder.h"

namespace tessera {

class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  // hidden_states[k] for every tap k (0: embeddings, k: after layer k), side by side: [tokens, taps * hidden], of the
  // compute type. All rows are computed, pad rows too.
  virtual Tensor Encode(const PromptTokens& prompt, ForwardContext& context) const = 0;
};

struct TextEncoderJob {
  std::vector<int> taps;  // ascending
  int64_t tokens = 0;     // padded length
  DType compute = DType::kF32;
};

// A text encoder as its config.json describes it; knows its costs and sites without weights.
class TextEncoderSpec {
 public:
  virtual ~TextEncoderSpec() = default;
  virtual int64_t hidden_size() const = 0;
  virtual int64_t vocabulary_size() const = 0;
  virtual int num_layers() const = 0;
  virtual int64_t most_tokens() const = 0;  // positions the model was made for
  virtual std::vector<SiteProblem> Sites(const TextEncoderJob& job) const = 0;
  virtual Cost CostOf(const TextEncoderJob& job) const = 0;
  // Bytes of the tensors Load keeps (layers up to the last tap), as they lie in the checkpoint.
  virtual size_t UsedWeightBytes(const WeightMap& weights, const TextEncoderJob& job) const = 0;
  // Loads the layers up to the last tap only; later layers, final norm and head may be in the checkpoint and are
  // ignored.
  virtual std::unique_ptr<TextEncoder> Load(WeightMap weights, const TextEncoderJob& job) const = 0;
};

// One architecture: a file in models/encoders/ and a line there.
struct TextEncoderArchitecture {
  std::string_view class_names;  // of model_index.json, space separated: "Qwen3ForCausalLM Qwen3Model"
  std::unique_ptr<TextEncoderSpec> (*parse)(const Config& config);  // throws Error{kFormat, kUnsupported}
};

// Throws Error{kUnsupported} for an unknown class, naming the known ones.
const TextEncoderArchitecture& FindTextEncoder(std::string_view class_name);

}  // namespace tessera
