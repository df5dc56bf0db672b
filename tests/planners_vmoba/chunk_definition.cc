#include "planners_vmoba/chunk_definition.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

namespace tessera {
namespace {

struct Entry {
  int64_t batch, chunk, head, query;  // query: video token from 0
  bool own;
  double product;
  bool chosen;
};

class Definition {
 public:
  Definition(const PlannerOperands& operands, const ChunkSettings& settings)
      : operands_(operands), problem_(operands.problem), grid_(*problem_.grid), settings_(settings) {
    const std::array<int64_t, 3> tokens = {grid_.t, grid_.h, grid_.w};
    for (size_t axis = 0; axis < 3; ++axis) {
      chunks_[axis] = (tokens[axis] + settings.chunk[axis] - 1) / settings.chunk[axis];
    }
    for (int64_t token = 0; token < video(); ++token) chunk_of_.push_back(FindChunk(token));
  }

  int64_t chunks() const { return chunks_[0] * chunks_[1] * chunks_[2]; }
  int64_t video() const { return grid_.t * grid_.h * grid_.w; }
  int64_t ChunkOf(int64_t raster) const { return chunk_of_[static_cast<size_t>(raster)]; }
  int64_t FindChunk(int64_t raster) const {
    const int64_t w = raster % grid_.w, h = raster / grid_.w % grid_.h, t = raster / grid_.w / grid_.h;
    const auto& size = settings_.chunk;
    return (t / size[0] * chunks_[1] + h / size[1]) * chunks_[2] + w / size[2];
  }

  // In the order of chunk (of all samples), head, query.
  std::vector<Entry> Entries() const {
    std::vector<Entry> entries;
    for (int64_t b = 0; b < problem_.batch; ++b) {
      for (int64_t c = 0; c < chunks(); ++c) {
        for (int head = 0; head < problem_.heads; ++head) Append(b, c, head, &entries);
      }
    }
    return entries;
  }

  void Append(int64_t b, int64_t c, int head, std::vector<Entry>* entries) const {
    const int kv_head = head / (problem_.heads / problem_.kv_heads);
    std::vector<double> mean(static_cast<size_t>(problem_.head_dim));
    double count = 0;
    for (int64_t token = 0; token < video(); ++token) {
      if (ChunkOf(token) != c) continue;
      ++count;
      const float* k = operands_.Row(operands_.k, problem_.kv_heads, b, grid_.prefix + token, kv_head);
      for (size_t d = 0; d < mean.size(); ++d) mean[d] += static_cast<double>(k[d]);
    }
    for (double& value : mean) value /= count;
    for (int64_t token = 0; token < video(); ++token) {
      const float* q = operands_.Row(operands_.q, problem_.heads, b, grid_.prefix + token, head);
      const double product = std::inner_product(mean.begin(), mean.end(), q, 0.0);
      entries->push_back({b, c, head, token, ChunkOf(token) == c, product, ChunkOf(token) == c});
    }
  }

  // Entries that are ranked together.
  std::vector<int64_t> GroupOf(const Entry& entry) const {
    if (settings_.type == "query_head") return {entry.batch, entry.head, entry.query};
    if (settings_.type == "block") return {entry.batch, entry.chunk};
    if (settings_.type == "head_global") return {entry.head};
    return {};
  }

  void Choose(std::vector<Entry*>& group) const {
    if (settings_.mode == "topk") return ChooseTop(group);
    double low = group[0]->product, high = low;
    for (const Entry* entry : group) {
      low = std::min(low, entry->product);
      high = std::max(high, entry->product);
    }
    const double range = high - low <= 1e-6 ? 1 : high - low;
    double total = 0, own = 0;
    std::vector<std::pair<double, Entry*>> list;
    for (Entry* entry : group) {
      const double weight = (entry->product - low) / range;
      total += weight;
      if (entry->own) own += weight;
      if (!entry->own || settings_.type != "overall") list.emplace_back(entry->own ? 0 : weight, entry);
    }
    std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
    const double need = std::max(0.0, settings_.threshold - own / (total + 1e-6));
    double sum = 0;
    for (auto& [weight, entry] : list) {
      entry->chosen = true;
      sum += weight;
      if (sum / (total + 1e-6) >= need) break;
    }
  }

  void ChooseTop(std::vector<Entry*>& group) const {
    const int64_t top = std::min(settings_.top, chunks());
    const auto own = std::count_if(group.begin(), group.end(), [](const Entry* entry) { return entry->own; });
    std::stable_sort(group.begin(), group.end(), [](const Entry* a, const Entry* b) {
      return a->own != b->own ? a->own : a->product > b->product;
    });
    for (int64_t n = 0; n < top * own; ++n) group[static_cast<size_t>(n)]->chosen = true;
  }

 private:
  const PlannerOperands& operands_;
  const AttentionProblem& problem_;
  const VideoGrid grid_;
  const ChunkSettings& settings_;
  std::array<int64_t, 3> chunks_ = {};
  std::vector<int64_t> chunk_of_;
};

}  // namespace

std::vector<uint8_t> DefinedPairs(const PlannerOperands& operands, const ChunkSettings& settings) {
  const Definition definition(operands, settings);
  const AttentionProblem& problem = operands.problem;
  std::vector<Entry> entries = definition.Entries();
  std::map<std::vector<int64_t>, std::vector<Entry*>> groups;
  for (Entry& entry : entries) groups[definition.GroupOf(entry)].push_back(&entry);
  for (auto& [key, group] : groups) definition.Choose(group);
  const int64_t length = problem.q_len, first = problem.grid->prefix, video = definition.video();
  std::vector<uint8_t> seen(static_cast<size_t>(problem.batch * problem.heads * length * length), 1);
  for (const Entry& entry : entries) {
    const int64_t row = (entry.batch * problem.heads + entry.head) * length + first + entry.query;
    for (int64_t key = 0; key < video; ++key) {
      if (definition.ChunkOf(key) == entry.chunk) {
        seen[static_cast<size_t>(row * length + first + key)] = entry.chosen ? 1 : 0;
      }
    }
  }
  return seen;
}

}  // namespace tessera
