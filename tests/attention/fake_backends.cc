#include "attention/fake_backends.h"

#include <fmt/format.h>

#include "base/check.h"

namespace tessera {
namespace {

std::unique_ptr<AttentionPlan> NoPlan(const AttentionProblem&, const Device&, const Options&) {
  TESSERA_CHECK(false);
  return nullptr;
}

template <int speed>
double Speed(const AttentionProblem&, const Device&) {
  return speed;
}

constexpr double (*kSpeeds[])(const AttentionProblem&, const Device&) = {Speed<1>, Speed<2>, Speed<3>};

uint32_t Bits(std::mt19937_64& random, int count) {
  return static_cast<uint32_t>((random() | random()) & ((1u << count) - 1));
}
bool Often(std::mt19937_64& random) { return random() % 4 != 0; }

}  // namespace

AttentionBackend& FakeBackends::Add(const std::string& name) {
  names_.push_back(name);
  AttentionBackend backend{};
  backend.name = names_.back();
  backend.caps.devices = Bit(DeviceKind::kCpu);
  backend.caps.dtypes = Bit(DType::kF32);
  backend.caps.head_dims = {64, 64, 1};
  backend.speed = Speed<1>;
  backend.plan = NoPlan;
  return backends_.emplace_back(backend);
}

FakeBackends FakeBackends::Draw(int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  FakeBackends fakes;
  for (int i = 0; i < count; ++i) {
    AttentionBackend& backend = fakes.Add(fmt::format("fake_{}", static_cast<char>('a' + (i * 7) % 26)));
    AttentionCaps& caps = backend.caps;
    caps.devices |= Bits(random, 5);
    caps.isa = static_cast<Isa>(random() % 3);
    caps.dtypes |= Bits(random, 4);
    caps.head_dims = {1, 256, static_cast<int>(1 + random() % 2 * 31)};
    caps.masks = Bits(random, 5);
    caps.grouped_kv = Often(random);
    caps.cross = Often(random);
    caps.lse = Often(random);
    caps.wants_grid = !Often(random);
    caps.applies_gate = Often(random);
    caps.fidelity = static_cast<Fidelity>(random() % 3);
    backend.speed = kSpeeds[random() % 3];
    if (random() % 10 == 0) backend.plan = nullptr;
  }
  return fakes;
}

std::vector<const AttentionBackend*> FakeBackends::list() const {
  std::vector<const AttentionBackend*> all;
  for (const AttentionBackend& backend : backends_) all.push_back(&backend);
  return all;
}

AttentionProblem DrawProblem(std::mt19937_64& random) {
  AttentionProblem problem;
  problem.dtype = static_cast<DType>(1 + random() % 3);
  problem.kv_heads = static_cast<int>(1 + random() % 4);
  problem.heads = problem.kv_heads * static_cast<int>(1 + random() % 3);
  problem.head_dim = static_cast<int>(32 * (1 + random() % 9));
  problem.q_len = static_cast<int64_t>(1 + random() % 5000);
  problem.kv_len = random() % 2 == 0 ? problem.q_len : static_cast<int64_t>(1 + random() % 5000);
  constexpr MaskFeatures kMasks[] = {kMaskNone,
                                     kMaskNone,
                                     kMaskCausal,
                                     kMaskCausalTopLeft | kMaskKeyLengths,
                                     kMaskVarlen | kMaskCausal,
                                     kMaskBias,
                                     kMaskBias | kMaskKeyLengths};
  problem.mask = kMasks[random() % 7];
  problem.batch = (problem.mask & kMaskVarlen) != 0 ? 1 : static_cast<int64_t>(1 + random() % 3);
  if (random() % 4 == 0) problem.scale = static_cast<float>(static_cast<double>(1 + random() % 100000) / 7777);
  problem.needs_lse = random() % 3 == 0;
  problem.has_gate = random() % 6 == 0;
  problem.role = static_cast<AttentionRole>(random() % 5);
  if (random() % 3 == 0) {
    problem.grid = VideoGrid{1, 1, problem.kv_len, 0, 0};
    if (random() % 2 == 0)
      problem.grid = VideoGrid{2, 3, 5, static_cast<int64_t>(random() % 9), static_cast<int64_t>(random() % 9)};
  }
  if (random() % 3 == 0) problem.step = static_cast<int>(random() % 50);
  if (random() % 3 == 0) problem.layer = static_cast<int>(random() % 50);
  return problem;
}

Device DrawDevice(std::mt19937_64& random) {
  Device device;
  device.kind = random() % 3 == 0 ? static_cast<DeviceKind>(random() % 5) : DeviceKind::kCpu;
  device.isa = static_cast<Isa>(random() % 4);
  return device;
}

}  // namespace tessera
