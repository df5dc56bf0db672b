#include "kernels/attention/exact.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/round_up.h"
#include "kernels/attention/exact_tile.h"
#include "kernels/attention/visible_keys.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr int64_t kLanes = kExactLanes;
constexpr float kNoKey = -std::numeric_limits<float>::infinity();

// Keys of one tile: fewer when heads are wide, so that a tile stays in the second level cache.
int64_t KeysOfTile(int head_dim) { return head_dim <= 256 ? 128 : 64; }

int64_t PaddedDim(int head_dim) { return RoundUp(head_dim, kExactRows); }

// Rows of a panel are kept off multiples of 4 KiB, which would all fall into one cache set.
int64_t PanelStride(int head_dim) { return RoundUp(head_dim, 16) + 16; }

// Scratch of one thread, in floats: queries and out [padded dim][lanes], panel [keys][stride], scores [keys][lanes].
size_t ScratchFloats(int head_dim) {
  const int64_t keys = KeysOfTile(head_dim);
  return static_cast<size_t>(2 * PaddedDim(head_dim) * kLanes + keys * PanelStride(head_dim) + keys * kLanes);
}
size_t ScratchBytes(int head_dim) { return ScratchFloats(head_dim) * sizeof(float); }

const ExactTileKernels& TileKernels() {
  const Isa isa = ActiveIsa();
  return isa >= Isa::kAvx512 ? ExactTileAvx512() : isa >= Isa::kAvx2 ? ExactTileAvx2() : ExactTileScalar();
}

// Up to kLanes queries of one query block, by token.
struct QueryTile {
  int64_t batch = 0, head = 0;
  int64_t set = 0;    // batch * heads + head
  int64_t first = 0;  // of the tile within its block
  int64_t count = 0;
  uint64_t active = 0;  // bits [0, count)
  int32_t tokens[kLanes];
  KeyRange keys[kLanes];  // what each query's masks leave
  KeyRange any, all;      // what some query and what every query sees
};

struct KeyTile {
  int64_t count = 0;
  int32_t tokens[128];
  uint64_t seen_by[128];  // one bit per query of the tile
};

uint64_t LowBits(int64_t count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

template <class Pointer>
int64_t RowOffset(const HeadRows<Pointer>& rows, int64_t batch, int64_t head, int64_t token) {
  return batch * rows.batch_stride + head * rows.head_stride + token * rows.seq_stride;
}

// One thread's work on one query tile after another.
class TileWorker {
 public:
  TileWorker(const ExactAttention& call, const ExactTileKernels& kernels, float* scratch)
      : call_(call),
        kernels_(kernels),
        padded_dim_(PaddedDim(call.head_dim)),
        stride_(PanelStride(call.head_dim)),
        queries_(scratch),
        out_(queries_ + padded_dim_ * kLanes),
        panel_(out_ + padded_dim_ * kLanes),
        scores_(panel_ + KeysOfTile(call.head_dim) * stride_) {}

  void Run(int64_t set, int64_t block, int64_t tile_in_block) noexcept;

 private:
  bool Begin(int64_t set, int64_t block, int64_t tile_in_block);
  void LoadQueries();
  void VisitEntry(int64_t kv_block, uint64_t queries);
  void VisitPosition(int32_t token, uint64_t queries);
  uint64_t EntryQueries(int64_t entry) const;
  uint64_t SeenBy(int32_t token, uint64_t queries) const;
  void Flush();
  void FillPanel(const HeadRows<const void*>& rows);
  void Widen(const void* rows, int64_t offset, float* to) const;
  template <class T>
  void AddBias(const T* bias);
  void HideByBool(const uint8_t* visible);
  void ApplyBias();
  bool HideUnseen();
  void Weigh(bool some_hidden, const float* rescale);
  void AccumulateSeen(const float* rescale);
  void Store();
  template <class T>
  void StoreRows(T* out);

  const ExactAttention& call_;
  const ExactTileKernels& kernels_;
  int64_t padded_dim_, stride_;
  float *queries_, *out_, *panel_, *scores_;
  int lanes_ = 0;  // of the tile, rounded up to whole vectors
  QueryTile tile_;
  KeyTile keys_;
  alignas(64) float maximum_[kLanes];
  alignas(64) float sum_[kLanes];
  alignas(64) float rescale_[kLanes];
};

void TileWorker::Widen(const void* rows, int64_t offset, float* to) const {
  const auto* bytes = static_cast<const std::byte*>(rows) + offset * static_cast<int64_t>(SizeOf(call_.dtype));
  const auto widen = call_.dtype == DType::kF32    ? kernels_.widen_f32
                     : call_.dtype == DType::kBF16 ? kernels_.widen_bf16
                                                   : kernels_.widen_f16;
  widen(bytes, to, call_.head_dim);
}

// False when the tile holds no query.
bool TileWorker::Begin(int64_t set, int64_t block, int64_t tile_in_block) {
  int64_t begin = 0, end = call_.q_len;
  const int32_t* permutation = nullptr;
  if (call_.blocks != nullptr) {
    const PositionBlocks& q = call_.blocks->q;
    begin = q.offsets[set * q.offsets_stride + block];
    end = q.offsets[set * q.offsets_stride + block + 1];
    if (q.permutation != nullptr) permutation = q.permutation + set * q.permutation_stride;
  }
  tile_.first = tile_in_block * kLanes;
  tile_.count = std::min(kLanes, end - begin - tile_.first);
  if (tile_.count <= 0) return false;
  tile_.set = set;
  tile_.batch = set / call_.heads;
  tile_.head = set % call_.heads;
  tile_.active = LowBits(tile_.count);
  lanes_ = static_cast<int>(RoundUp(tile_.count, 16));
  tile_.any = {call_.kv_len, 0};
  tile_.all = {0, call_.kv_len};
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    const int64_t position = begin + tile_.first + lane;
    tile_.tokens[lane] = permutation != nullptr ? permutation[position] : static_cast<int32_t>(position);
    const KeyRange keys = VisibleKeys(call_, tile_.batch, tile_.tokens[lane]);
    tile_.keys[lane] = keys;
    tile_.all = {std::max(tile_.all.begin, keys.begin), std::min(tile_.all.end, keys.end)};
    if (keys.begin < keys.end) tile_.any = {std::min(tile_.any.begin, keys.begin), std::max(tile_.any.end, keys.end)};
  }
  return true;
}

void TileWorker::LoadQueries() {
  std::memset(queries_, 0, static_cast<size_t>(padded_dim_ * kLanes) * sizeof(float));
  std::memset(out_, 0, static_cast<size_t>(padded_dim_ * kLanes) * sizeof(float));
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    Widen(call_.q.elements, RowOffset(call_.q, tile_.batch, tile_.head, tile_.tokens[lane]), panel_);
    for (int64_t d = 0; d < call_.head_dim; ++d) queries_[d * kLanes + lane] = panel_[d];
  }
  std::fill_n(maximum_, kLanes, kNoKey);
  std::fill_n(sum_, kLanes, 0.0f);
}

// The queries of the tile that entry `entry` of the key block list is meant for.
uint64_t TileWorker::EntryQueries(int64_t entry) const {
  const BlockLists& blocks = *call_.blocks;
  if (blocks.query_masks == nullptr) return tile_.active;
  return blocks.query_masks[entry * blocks.mask_words + tile_.first / kLanes] & tile_.active;
}

uint64_t TileWorker::SeenBy(int32_t token, uint64_t queries) const {
  if (token >= tile_.all.begin && token < tile_.all.end) return queries;
  if (token < tile_.any.begin || token >= tile_.any.end) return 0;
  uint64_t seen = 0;
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    seen |= uint64_t{token >= tile_.keys[lane].begin && token < tile_.keys[lane].end} << lane;
  }
  return seen & queries;
}

void TileWorker::VisitPosition(int32_t token, uint64_t queries) {
  const uint64_t seen = SeenBy(token, queries);
  if (seen == 0) return;
  keys_.tokens[keys_.count] = token;
  keys_.seen_by[keys_.count] = seen;
  if (++keys_.count == KeysOfTile(call_.head_dim)) Flush();
}

void TileWorker::VisitEntry(int64_t kv_block, uint64_t queries) {
  if (queries == 0) return;
  int64_t begin = 0, end = call_.kv_len;
  const int32_t* permutation = nullptr;
  if (call_.blocks != nullptr) {
    const PositionBlocks& kv = call_.blocks->kv;
    begin = kv.offsets[tile_.set * kv.offsets_stride + kv_block];
    end = kv.offsets[tile_.set * kv.offsets_stride + kv_block + 1];
    if (kv.permutation != nullptr) permutation = kv.permutation + tile_.set * kv.permutation_stride;
  }
  if (permutation != nullptr) {
    for (int64_t position = begin; position < end; ++position) VisitPosition(permutation[position], queries);
    return;
  }
  begin = std::max(begin, tile_.any.begin);
  end = std::min(end, tile_.any.end);
  for (int64_t token = begin; token < end; ++token) VisitPosition(static_cast<int32_t>(token), queries);
}

// Rows that no query sees (padding, and keys that a boolean mask hides) are 0.
void TileWorker::FillPanel(const HeadRows<const void*>& rows) {
  const int64_t kv_head = tile_.head / (call_.heads / call_.kv_heads);
  const int64_t padded = RoundUp(keys_.count, kExactRows);
  for (int64_t key = 0; key < padded; ++key) {
    float* row = panel_ + key * stride_;
    if (key >= keys_.count || keys_.seen_by[key] == 0) {
      std::fill_n(row, padded_dim_, 0.0f);
      continue;
    }
    Widen(rows.elements, RowOffset(rows, tile_.batch, kv_head, keys_.tokens[key]), row);
    std::fill(row + call_.head_dim, row + padded_dim_, 0.0f);
  }
}

template <class T>
void TileWorker::AddBias(const T* bias) {
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    const T* row = bias + tile_.tokens[lane] * call_.bias.query_stride;
    const uint64_t bit = uint64_t{1} << lane;
    for (int64_t key = 0; key < keys_.count; ++key) {
      if ((keys_.seen_by[key] & bit) == 0) continue;
      const float value = ToFloat(row[keys_.tokens[key]]);
      if (value == kNoKey) keys_.seen_by[key] &= ~bit;
      scores_[key * kLanes + lane] += value;
    }
  }
}

void TileWorker::HideByBool(const uint8_t* visible) {
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    const uint8_t* row = visible + tile_.tokens[lane] * call_.bias.query_stride;
    for (int64_t key = 0; key < keys_.count; ++key) {
      if (row[keys_.tokens[key]] == 0) keys_.seen_by[key] &= ~(uint64_t{1} << lane);
    }
  }
}

void TileWorker::ApplyBias() {
  const ScoreBias& bias = call_.bias;
  if (bias.elements == nullptr) return;
  const int64_t offset = tile_.batch * bias.batch_stride + tile_.head * bias.head_stride;
  if (bias.dtype == DType::kF32) {
    AddBias(static_cast<const float*>(bias.elements) + offset);
  } else if (bias.dtype == DType::kBF16) {
    AddBias(static_cast<const BFloat16*>(bias.elements) + offset);
  } else if (bias.dtype == DType::kF16) {
    AddBias(static_cast<const Float16*>(bias.elements) + offset);
  } else {
    HideByBool(static_cast<const uint8_t*>(bias.elements) + offset);
  }
}

// Scores of hidden pairs become -inf, whatever their value. Returns whether any pair of a query and a key is hidden.
bool TileWorker::HideUnseen() {
  bool hidden_any = false;
  for (int64_t key = 0; key < RoundUp(keys_.count, kExactRows); ++key) {
    uint64_t hidden = key < keys_.count ? tile_.active & ~keys_.seen_by[key] : tile_.active;
    hidden_any |= hidden != 0;
    for (; hidden != 0; hidden &= hidden - 1) scores_[key * kLanes + std::countr_zero(hidden)] = kNoKey;
  }
  return hidden_any;
}

// The plain product when values are not finite: a hidden key must not contribute 0 * inf.
void TileWorker::AccumulateSeen(const float* rescale) {
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    for (int64_t d = 0; d < call_.head_dim; ++d) {
      float& out = out_[d * kLanes + lane];
      if (rescale != nullptr) out *= rescale[lane];
      for (int64_t key = 0; key < keys_.count; ++key) {
        if ((keys_.seen_by[key] >> lane & 1) != 0) out += scores_[key * kLanes + lane] * panel_[key * stride_ + d];
      }
    }
  }
}

// out += weights * values, after the values took the keys' place in the panel.
void TileWorker::Weigh(bool some_hidden, const float* rescale) {
  FillPanel(call_.v);
  const int64_t padded = RoundUp(keys_.count, kExactRows);
  if (some_hidden) {
    for (int64_t key = 0; key < keys_.count; ++key) {
      if (kernels_.all_finite(panel_ + key * stride_, call_.head_dim) == 0) return AccumulateSeen(rescale);
    }
  }
  kernels_.accumulate({panel_, stride_, padded, padded_dim_}, scores_, lanes_, rescale, out_);
}

void TileWorker::Flush() {
  if (keys_.count == 0) return;
  const int64_t padded = RoundUp(keys_.count, kExactRows);
  FillPanel(call_.k);
  kernels_.scores({panel_, stride_, padded, padded_dim_}, queries_, lanes_, call_.scale, scores_);
  ApplyBias();
  const bool some_hidden = HideUnseen();
  const bool raised = kernels_.softmax(scores_, padded, lanes_, {maximum_, sum_, rescale_}) != 0;
  Weigh(some_hidden, raised ? rescale_ : nullptr);
  keys_.count = 0;
}

template <class T>
void TileWorker::StoreRows(T* out) {
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    T* row = out + RowOffset(call_.out, tile_.batch, tile_.head, tile_.tokens[lane]);
    const float factor = sum_[lane] == 0 ? 0.0f : 1.0f / sum_[lane];
    for (int64_t d = 0; d < call_.head_dim; ++d) {
      tessera::Store(sum_[lane] == 0 ? 0.0f : out_[d * kLanes + lane] * factor, row + d);
    }
  }
}

void TileWorker::Store() {
  if (call_.dtype == DType::kF32) {
    StoreRows(static_cast<float*>(call_.out.elements));
  } else if (call_.dtype == DType::kBF16) {
    StoreRows(static_cast<BFloat16*>(call_.out.elements));
  } else {
    StoreRows(static_cast<Float16*>(call_.out.elements));
  }
  if (call_.lse == nullptr) return;
  for (int64_t lane = 0; lane < tile_.count; ++lane) {
    const double sum = sum_[lane];
    call_.lse[tile_.set * call_.q_len + tile_.tokens[lane]] =
        sum == 0 ? kNoKey : static_cast<float>(static_cast<double>(maximum_[lane]) + std::log(sum));
  }
}

void TileWorker::Run(int64_t set, int64_t block, int64_t tile_in_block) noexcept {
  if (!Begin(set, block, tile_in_block)) return;
  LoadQueries();
  if (call_.blocks == nullptr) {
    VisitEntry(0, tile_.active);
  } else {
    const int64_t row = set * call_.blocks->q.count + block;
    for (int64_t entry = call_.blocks->row_begin[row]; entry < call_.blocks->row_begin[row + 1]; ++entry) {
      VisitEntry(call_.blocks->kv_list[entry], EntryQueries(entry));
    }
  }
  Flush();
  Store();
}

int64_t LargestQueryBlock(const ExactAttention& call) {
  if (call.blocks == nullptr) return call.q_len;
  const PositionBlocks& q = call.blocks->q;
  const int64_t sets = q.offsets_stride == 0 ? 1 : call.batch * call.heads;
  int64_t largest = 0;
  for (int64_t set = 0; set < sets; ++set) {
    const int32_t* offsets = q.offsets + set * q.offsets_stride;
    for (int32_t block = 0; block < q.count; ++block)
      largest = std::max<int64_t>(largest, offsets[block + 1] - offsets[block]);
  }
  return largest;
}

// All query tiles of a call, handed out one by one in an order that lets neighbours share keys.
struct TileQueue {
  const ExactAttention& call;
  const ExactTileKernels& kernels;
  std::byte* workspace;
  int64_t blocks, tiles_of_block, count;
  std::atomic<int64_t> next{0};

  void Drain(int64_t slot) noexcept {
    TileWorker worker(call, kernels,
                      reinterpret_cast<float*>(workspace + slot * static_cast<int64_t>(ScratchBytes(call.head_dim))));
    for (int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < count;) {
      const int64_t row = item / tiles_of_block;
      worker.Run(row / blocks, row % blocks, item % tiles_of_block);
    }
  }
};

}  // namespace

size_t ExactAttentionWorkspaceBytes(int head_dim, int threads) noexcept {
  return ScratchBytes(head_dim) * static_cast<size_t>(std::max(threads, 1));
}

void RunExactAttention(const ExactAttention& call, std::span<std::byte> workspace) noexcept {
  const int64_t blocks = call.blocks != nullptr ? call.blocks->q.count : 1;
  const int64_t tiles = (LargestQueryBlock(call) + kLanes - 1) / kLanes;
  const int64_t count = call.batch * call.heads * blocks * tiles;
  const auto slots = static_cast<int64_t>(workspace.size() / ScratchBytes(call.head_dim));
  TESSERA_CHECK(slots >= 1);
  if (count == 0) return;
  TileQueue queue{call, TileKernels(), workspace.data(), blocks, tiles, count};
  ParallelItems(std::min({slots, count, static_cast<int64_t>(Threads())}),
                [&queue](int64_t slot, int) { queue.Drain(slot); });
}

}  // namespace tessera
