#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention/exact.h"
#include "kernels/attention/visible_keys.h"

namespace tessera {
namespace {

constexpr double kNoKey = -std::numeric_limits<double>::infinity();

double Element(const void* elements, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF32:
      return static_cast<const float*>(elements)[index];
    case DType::kBF16:
      return ToFloat(static_cast<const BFloat16*>(elements)[index]);
    default:
      return ToFloat(static_cast<const Float16*>(elements)[index]);
  }
}

void SetElement(void* elements, DType dtype, int64_t index, double value) {
  switch (dtype) {
    case DType::kF32:
      static_cast<float*>(elements)[index] = static_cast<float>(value);
      break;
    case DType::kBF16:
      Store(static_cast<float>(value), static_cast<BFloat16*>(elements) + index);
      break;
    default:
      Store(static_cast<float>(value), static_cast<Float16*>(elements) + index);
      break;
  }
}

template <class Pointer>
int64_t RowAt(const HeadRows<Pointer>& rows, int64_t batch, int64_t head, int64_t token) {
  return batch * rows.batch_stride + head * rows.head_stride + token * rows.seq_stride;
}

int64_t TokenAt(const PositionBlocks& blocks, int64_t set, int64_t position) {
  return blocks.permutation == nullptr ? position : blocks.permutation[set * blocks.permutation_stride + position];
}

// visits[query * kv_len + key]: whether the block lists of head `set` let the pair meet.
std::vector<char> VisitedPairs(const ExactAttention& call, int64_t set) {
  std::vector<char> visits(static_cast<size_t>(call.q_len * call.kv_len), call.blocks == nullptr ? 1 : 0);
  if (call.blocks == nullptr) return visits;
  const BlockLists& lists = *call.blocks;
  const int32_t* q_offsets = lists.q.offsets + set * lists.q.offsets_stride;
  const int32_t* kv_offsets = lists.kv.offsets + set * lists.kv.offsets_stride;
  for (int32_t block = 0; block < lists.q.count; ++block) {
    const int64_t row = set * lists.q.count + block;
    for (int64_t entry = lists.row_begin[row]; entry < lists.row_begin[row + 1]; ++entry) {
      const int32_t kv_block = lists.kv_list[entry];
      for (int32_t i = q_offsets[block]; i < q_offsets[block + 1]; ++i) {
        const int32_t bit = i - q_offsets[block];
        if (lists.query_masks != nullptr &&
            (lists.query_masks[entry * lists.mask_words + bit / 64] >> (bit % 64) & 1) == 0) {
          continue;
        }
        for (int32_t j = kv_offsets[kv_block]; j < kv_offsets[kv_block + 1]; ++j) {
          visits[static_cast<size_t>(TokenAt(lists.q, set, i) * call.kv_len + TokenAt(lists.kv, set, j))] = 1;
        }
      }
    }
  }
  return visits;
}

// scale * <q, k> + bias, or -inf for a key the bias hides.
double Score(const ExactAttention& call, int64_t set, int64_t query, int64_t key) {
  const int64_t batch = set / call.heads, head = set % call.heads;
  const int64_t q_row = RowAt(call.q, batch, head, query);
  const int64_t k_row = RowAt(call.k, batch, head / (call.heads / call.kv_heads), key);
  double dot = 0;
  for (int64_t d = 0; d < call.head_dim; ++d) {
    dot += Element(call.q.elements, call.dtype, q_row + d) * Element(call.k.elements, call.dtype, k_row + d);
  }
  const double score = dot * static_cast<double>(call.scale);
  const ScoreBias& bias = call.bias;
  if (bias.elements == nullptr) return score;
  const int64_t at = batch * bias.batch_stride + head * bias.head_stride + query * bias.query_stride + key;
  if (bias.dtype == DType::kBool) return static_cast<const uint8_t*>(bias.elements)[at] != 0 ? score : kNoKey;
  const double added = Element(bias.elements, bias.dtype, at);
  return added == kNoKey ? kNoKey : score + added;
}

void AttendRow(const ExactAttention& call, int64_t set, int64_t query, const char* visited) {
  const int64_t batch = set / call.heads, head = set % call.heads;
  const KeyRange range = VisibleKeys(call, batch, query);
  std::vector<double> scores(static_cast<size_t>(call.kv_len), kNoKey);
  double largest = kNoKey;
  for (int64_t key = range.begin; key < range.end; ++key) {
    if (visited[key] == 0) continue;
    scores[static_cast<size_t>(key)] = Score(call, set, query, key);
    largest = std::fmax(largest, scores[static_cast<size_t>(key)]);
  }
  double sum = 0;
  std::vector<double> out(static_cast<size_t>(call.head_dim));
  for (int64_t key = range.begin; key < range.end; ++key) {
    if (scores[static_cast<size_t>(key)] == kNoKey) continue;
    const double weight = std::exp(scores[static_cast<size_t>(key)] - largest);
    const int64_t row = RowAt(call.v, batch, head / (call.heads / call.kv_heads), key);
    sum += weight;
    for (size_t d = 0; d < out.size(); ++d) {
      out[d] += weight * Element(call.v.elements, call.dtype, row + static_cast<int64_t>(d));
    }
  }
  const int64_t row = RowAt(call.out, batch, head, query);
  for (size_t d = 0; d < out.size(); ++d) {
    SetElement(call.out.elements, call.dtype, row + static_cast<int64_t>(d), sum == 0 ? 0 : out[d] / sum);
  }
  if (call.lse != nullptr) {
    call.lse[set * call.q_len + query] = static_cast<float>(sum == 0 ? kNoKey : largest + std::log(sum));
  }
}

}  // namespace

void RunExactAttentionReference(const ExactAttention& call) {
  for (int64_t set = 0; set < call.batch * call.heads; ++set) {
    const std::vector<char> visited = VisitedPairs(call, set);
    for (int64_t query = 0; query < call.q_len; ++query) {
      AttendRow(call, set, query, visited.data() + query * call.kv_len);
    }
  }
}

}  // namespace tessera
