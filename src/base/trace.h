// What a run does when: spans that nest, and the memory it holds over time. Levels that record know neither the
// pipeline nor who reads the trace.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <thread>

namespace tessera {

// Outer kinds first: room is kept for them when inner ones have filled a recorder.
enum class TraceKind : uint8_t {
  kStage,
  kLoad,
  kWrite,
  kStep,
  kPass,
  kBlock,
  kAttention,
  kLinear,
  kConvolution,
  kNorm,
  kRotary,
  kElementwise
};
inline constexpr size_t kTraceKinds = 12;
std::string_view Name(TraceKind kind) noexcept;
// What the sizes of a kind's spans count, in order: "rows", "in", "out".
std::span<const std::string_view> SizeNames(TraceKind kind) noexcept;
constexpr bool IsOuter(TraceKind kind) noexcept { return kind <= TraceKind::kBlock; }

constexpr size_t kTraceSizes = 6;
struct TraceLabel {
  TraceKind kind = TraceKind::kBlock;
  std::string_view name;        // what runs: a stage, a layer, a backend
  std::string_view place = {};  // where, for what has a site
  int64_t index = -1;           // which step or layer, from 0
  std::array<int64_t, kTraceSizes> sizes = {};
  double flops = 0;  // that the work would take in full; 0: not counted
};

// Texts are copied, so that nothing needs to outlive what it labels; longer ones are cut.
struct TraceEvent {
  TraceKind kind;
  uint8_t thread;
  float density;             // share of the work that was done; 1 unless said
  int64_t begin_ns, end_ns;  // since the recorder was made; end -1: has not ended
  int64_t index;
  double flops;
  int64_t sizes[kTraceSizes];
  char name[48], place[32];  // end with a zero
};

struct MemorySample {
  int64_t at_ns = 0;
  size_t bytes = 0;
};

// Room for events and samples is set aside when it is made (untouched pages cost nothing); recording allocates nothing.
// Any thread may record; reading is for afterwards.
class TraceRecorder {
 public:
  static constexpr size_t kMostEvents = size_t{1} << 19;  // about 90 MB when full; a long film has 200 000
  static constexpr size_t kMostThreads = 64;              // further ones share the last track

  explicit TraceRecorder(size_t most_events = kMostEvents);  // at least 8
  TraceRecorder(const TraceRecorder&) = delete;
  TraceRecorder& operator=(const TraceRecorder&) = delete;

  // Null when there is no room: counted in dropped().
  TraceEvent* Begin(const TraceLabel& label) noexcept;
  void End(TraceEvent& event) noexcept;

  std::span<const TraceEvent> events() const noexcept;  // of one thread: in the order of their beginnings
  // Taken at beginnings and ends of spans, at least a millisecond apart; sparser the longer a run gets.
  std::span<const MemorySample> memory() const noexcept { return {samples_.get(), sample_count_}; }
  int64_t dropped() const noexcept { return dropped_.load(); }
  size_t threads() const noexcept;
  int64_t NowNs() const noexcept;

 private:
  uint8_t ThreadIndex() noexcept;
  void SampleMemory(int64_t now) noexcept;
  void ThinSamples() noexcept;

  int64_t start_ns_;
  size_t most_events_;
  std::unique_ptr<TraceEvent[]> events_;
  std::atomic<size_t> used_{0};
  std::atomic<int64_t> dropped_{0};
  std::array<std::atomic<std::thread::id>, kMostThreads> threads_ = {};
  std::unique_ptr<MemorySample[]> samples_;
  size_t sample_count_ = 0;
  std::atomic<int64_t> next_sample_ns_{0};
  int64_t sample_interval_ns_;
  std::atomic_flag sampling_ = ATOMIC_FLAG_INIT;
};

// Records a span from its construction to its end; does nothing without a recorder.
class TraceScope {
 public:
  TraceScope(TraceRecorder* recorder, const TraceLabel& label) noexcept
      : recorder_(recorder), event_(recorder == nullptr ? nullptr : recorder->Begin(label)) {}
  ~TraceScope() {
    if (event_ != nullptr) recorder_->End(*event_);
  }
  TraceScope(const TraceScope&) = delete;
  TraceScope& operator=(const TraceScope&) = delete;

  void SetDensity(double density) noexcept {
    if (event_ != nullptr) event_->density = static_cast<float>(density);
  }

 private:
  TraceRecorder* recorder_;
  TraceEvent* event_;
};

}  // namespace tessera
