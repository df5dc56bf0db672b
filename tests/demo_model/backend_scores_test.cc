// The demo model drawn with every attention backend: do its pictures still show what their captions ask for?
#include <algorithm>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "attention/registry.h"
#include "demo_model/held_prompts.h"
#include "demo_model/scorer.h"

namespace tessera::demo {
namespace {

enum class Kind { kExact, kQuantized, kSparse };

struct Judged {
  std::string backend;
  Kind kind;
  std::string config;  // sparse ones: for a grid of 8 x 8 tokens
};

const std::vector<Judged>& AllJudged() {
  static const std::vector<Judged> all = {
      {"torch_sdpa", Kind::kExact, ""},
      {"aiter", Kind::kExact, ""},
      {"fia", Kind::kExact, ""},
      {"sage_attn", Kind::kQuantized, ""},
      {"sage_attn_3", Kind::kQuantized, ""},
      {"aiter_sage", Kind::kQuantized, ""},
      {"sliding_tile_attn", Kind::kSparse, "tile_size=[1,2,2],window=[1,3,3]"},
      {"video_sparse_attn", Kind::kSparse, "tile_size=[1,2,2],sparsity=0.5"},
      {"vmoba_attn", Kind::kSparse,
       "temporal_layer=0,spatial_layer=1,st_layer=0,spatial_chunk_size=[2,2],moba_select_mode=topk,spatial_topk=8,"
       "first_full_step=2"},
      {"sparse_video_gen_2_attn", Kind::kSparse, "num_q_centroids=8,num_k_centroids=16,top_p_kmeans=0.9"},
  };
  return all;
}

struct Percents {
  double satisfied = 0, strict = 0;
};

// bf16, the checkpoint's own precision: all backends take it.
Percents Drawn(const std::vector<HeldPrompt>& prompts, const std::string& backend, const std::string& config) {
  std::vector<std::string> flags = {"--dit-precision", "bf16", "--attention-backend", backend};
  if (!config.empty()) flags.insert(flags.end(), {"--attention-backend-config", config});
  const std::vector<ScoredScene> scored = DrawAndScore(prompts, flags);
  const Percents percents = {Percent(scored, [](const Score& score) { return score.satisfied(); }),
                             Percent(scored, [](const Score& score) { return score.strict(); })};
  std::printf("%-24s satisfied %5.1f%%  with the shape %5.1f%%  (%zu) %s\n", backend.c_str(), percents.satisfied,
              percents.strict, scored.size(), config.c_str());
  return percents;
}

std::vector<HeldPrompt> FirstPrompts(size_t count) {
  std::vector<HeldPrompt> prompts = HeldPrompts();
  prompts.resize(count);
  return prompts;
}

// Points that may be lost against exact attention; one picture of 40 is 2.5, one of 96 is 1.04.
double PointsToLose(Kind kind) { return kind == Kind::kSparse ? 10.0 : 3.0; }

void ExpectNear(const std::vector<HeldPrompt>& prompts, std::span<const Kind> kinds) {
  const Percents exact = Drawn(prompts, "fa", "");
  for (const Judged& judged : AllJudged()) {
    if (std::find(kinds.begin(), kinds.end(), judged.kind) == kinds.end()) continue;
    const Percents percents = Drawn(prompts, judged.backend, judged.config);
    EXPECT_GE(percents.satisfied, exact.satisfied - PointsToLose(judged.kind)) << judged.backend;
  }
}

// What is registered is judged: a backend added later has to be listed here.
TEST(BackendScores, NoBackendIsLeftOut) {
  EXPECT_EQ(AttentionRegistry::BuiltIn().backends().size(), AllJudged().size() + 1);
}

TEST(BackendScores, QuantizedAttentionObeysCaptions) {
  constexpr Kind kinds[] = {Kind::kQuantized};
  ExpectNear(FirstPrompts(40), kinds);
}

// Minutes: 96 pictures with each backend.
TEST(BackendScoresSlow, EveryBackendObeysCaptions) {
  constexpr Kind kinds[] = {Kind::kExact, Kind::kQuantized, Kind::kSparse};
  ExpectNear(HeldPrompts(), kinds);
}

}  // namespace
}  // namespace tessera::demo
