#include "platform/cpu/peak.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "platform/cpu/peak_loops.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

PeakLoop LoopOf(PeakKind kind) {
  const Isa isa = ActiveIsa();
  if (kind == PeakKind::kBf16) return isa >= Isa::kAvx512Bf16 ? Bf16LoopAvx512() : PeakLoop{nullptr, 0};
  if (kind == PeakKind::kInt8) return isa >= Isa::kAvx512Bf16 ? Int8LoopAvx512() : PeakLoop{nullptr, 0};
  return isa >= Isa::kAvx512 ? F32LoopAvx512() : isa >= Isa::kAvx2 ? F32LoopAvx2() : F32LoopScalar();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

constexpr int64_t kQuickRounds = 8000;

double QuickSpeed(const PeakLoop& loop) noexcept {
  const double begin = SecondsNow();
  loop.run(kQuickRounds);
  return kQuickRounds * loop.operations_per_round / (SecondsNow() - begin);
}

double ReadAll(const std::shared_ptr<std::byte>& buffer, size_t words) {
  const auto* numbers = reinterpret_cast<const uint64_t*>(buffer.get());
  const double begin = SecondsNow();
  ParallelFor(static_cast<int64_t>(words), 1 << 16, [&](int64_t from, int64_t to) {
    uint64_t sum = 0;
    for (int64_t i = from; i < to; ++i) sum += numbers[i];
    asm volatile("" : : "r"(sum));
  });
  return SecondsNow() - begin;
}

}  // namespace

double QuickPeak(PeakKind kind) noexcept {
  const PeakLoop loop = LoopOf(kind);
  if (loop.run == nullptr) return 0;
  loop.run(kQuickRounds);
  double best = 0;
  for (int i = 0; i < 5; ++i) best = std::max(best, QuickSpeed(loop));
  return best;
}

double RelativePeak(PeakKind kind) noexcept {
  const PeakLoop loop = LoopOf(kind), f32 = LoopOf(PeakKind::kF32);
  if (loop.run == nullptr) return 0;
  loop.run(kQuickRounds);
  f32.run(kQuickRounds);
  std::vector<double> ratios(15);
  for (double& ratio : ratios) ratio = QuickSpeed(loop) / QuickSpeed(f32);
  return Median(std::move(ratios));
}

double MeasurePeak(PeakKind kind, int runs) {
  const PeakLoop loop = LoopOf(kind);
  if (loop.run == nullptr) return 0;
  const auto rounds = static_cast<int64_t>(0.05 * QuickPeak(kind) / loop.operations_per_round) + 1;
  std::vector<double> speeds;
  for (int i = 0; i < runs; ++i) {
    const double begin = SecondsNow();
    ParallelItems(Threads(), [&](int64_t, int) { loop.run(rounds); });
    speeds.push_back(static_cast<double>(rounds) * loop.operations_per_round * Threads() / (SecondsNow() - begin));
  }
  return Median(speeds);
}

double MeasureReadBandwidth(int runs) {
  constexpr size_t kBytes = size_t{512} << 20;
  const auto buffer = AllocateAligned(kBytes);
  std::fill_n(reinterpret_cast<uint64_t*>(buffer.get()), kBytes / 8, 1);
  std::vector<double> speeds;
  for (int i = 0; i < runs; ++i) speeds.push_back(kBytes / ReadAll(buffer, kBytes / 8));
  return Median(speeds);
}

}  // namespace tessera
