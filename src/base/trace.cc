#include "base/trace.h"

#include <algorithm>
#include <cstring>

#include "base/clock.h"
#include "base/resident_memory.h"

namespace tessera {
namespace {

constexpr size_t kMostSamples = size_t{1} << 15;
constexpr int64_t kSampleIntervalNs = 1'000'000;

template <size_t room>
void CopyText(std::string_view text, char (&to)[room]) noexcept {
  const size_t length = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}

}  // namespace

std::string_view Name(TraceKind kind) noexcept {
  constexpr std::array<std::string_view, kTraceKinds> kNames = {"stage",       "load",  "write",     "step",
                                                                "pass",        "block", "attention", "linear",
                                                                "convolution", "norm",  "rotary",    "elementwise"};
  return kNames[static_cast<size_t>(kind)];
}

std::span<const std::string_view> SizeNames(TraceKind kind) noexcept {
  static constexpr std::string_view kAttention[] = {"batch", "heads", "kv_heads", "head_dim", "q_len", "kv_len"};
  static constexpr std::string_view kLinear[] = {"rows", "in", "out"};
  static constexpr std::string_view kConvolution[] = {"frames", "height", "width", "in", "out", "kernel"};
  static constexpr std::string_view kRows[] = {"rows", "channels"};
  switch (kind) {
    case TraceKind::kAttention:
      return kAttention;
    case TraceKind::kLinear:
      return kLinear;
    case TraceKind::kConvolution:
      return kConvolution;
    case TraceKind::kNorm:
    case TraceKind::kRotary:
    case TraceKind::kElementwise:
      return kRows;
    case TraceKind::kStage:
    case TraceKind::kLoad:
    case TraceKind::kWrite:
    case TraceKind::kStep:
    case TraceKind::kPass:
    case TraceKind::kBlock:
      return {};
  }
  return {};
}

TraceRecorder::TraceRecorder(size_t most_events)
    : start_ns_(NanosecondsNow()),
      most_events_(std::max<size_t>(most_events, 8)),
      events_(std::make_unique_for_overwrite<TraceEvent[]>(most_events_)),
      samples_(std::make_unique<MemorySample[]>(kMostSamples)),
      sample_interval_ns_(kSampleIntervalNs) {}

int64_t TraceRecorder::NowNs() const noexcept { return NanosecondsNow() - start_ns_; }

TraceEvent* TraceRecorder::Begin(const TraceLabel& label) noexcept {
  const size_t most = IsOuter(label.kind) ? most_events_ : most_events_ - most_events_ / 8;
  const size_t slot = used_.load() < most ? used_.fetch_add(1) : most_events_;
  if (slot >= most_events_) {
    dropped_.fetch_add(1);
    return nullptr;
  }
  TraceEvent& event = events_[slot];
  event.kind = label.kind;
  event.thread = ThreadIndex();
  event.density = 1;
  event.end_ns = -1;
  event.index = label.index;
  event.flops = label.flops;
  std::copy(label.sizes.begin(), label.sizes.end(), event.sizes);
  CopyText(label.name, event.name);
  CopyText(label.place, event.place);
  event.begin_ns = NowNs();
  if (event.begin_ns >= next_sample_ns_.load(std::memory_order_relaxed)) SampleMemory(event.begin_ns);
  return &event;
}

void TraceRecorder::End(TraceEvent& event) noexcept {
  event.end_ns = NowNs();
  if (event.end_ns >= next_sample_ns_.load(std::memory_order_relaxed)) SampleMemory(event.end_ns);
}

std::span<const TraceEvent> TraceRecorder::events() const noexcept {
  return {events_.get(), std::min(used_.load(), most_events_)};
}

size_t TraceRecorder::threads() const noexcept {
  const auto known = [](const auto& thread) { return thread.load() != std::thread::id(); };
  return static_cast<size_t>(std::count_if(threads_.begin(), threads_.end(), known));
}

uint8_t TraceRecorder::ThreadIndex() noexcept {
  const std::thread::id self = std::this_thread::get_id();
  for (size_t i = 0; i < kMostThreads; ++i) {
    std::thread::id known = threads_[i].load();
    if (known == std::thread::id()) threads_[i].compare_exchange_strong(known, self);
    if (threads_[i].load() == self) return static_cast<uint8_t>(i);
  }
  return kMostThreads - 1;
}

void TraceRecorder::SampleMemory(int64_t now) noexcept {
  if (sampling_.test_and_set()) return;
  if (sample_count_ == kMostSamples) ThinSamples();
  samples_[sample_count_++] = {now, ResidentBytes()};
  next_sample_ns_.store(now + sample_interval_ns_);
  sampling_.clear();
}

// Half the samples stand for the whole time so far.
void TraceRecorder::ThinSamples() noexcept {
  for (size_t i = 0; i < kMostSamples / 2; ++i) samples_[i] = samples_[2 * i];
  sample_count_ = kMostSamples / 2;
  sample_interval_ns_ *= 2;
}

}  // namespace tessera
