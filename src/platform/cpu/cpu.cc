#include "platform/cpu/cpu.h"

#include <cpuid.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <string>

#include <fmt/format.h>
#include <dnnl.hpp>

#include "base/environment.h"
#include "base/error.h"
#include "base/text.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/peak.h"

namespace tessera {
namespace {

constexpr int kNotLowered = -1;
std::atomic<int> lowered_isa{kNotLowered};  // the two process-wide settings kernels look at
std::atomic<Bf16Dot> bf16_dot{Bf16Dot::kMeasured};

bool HasBf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & (1u << 5)) != 0;
}

Isa Probe() {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx512 && __builtin_cpu_supports("avx512vnni") && HasBf16()) return Isa::kAvx512Bf16;
  return avx512 ? Isa::kAvx512 : avx2 ? Isa::kAvx2 : Isa::kScalar;
}

std::string CpuName() {
  char brand[49] = {};
  for (unsigned i = 0; i < 3; ++i) {
    unsigned words[4] = {};
    if (__get_cpuid(0x80000002u + i, &words[0], &words[1], &words[2], &words[3]) == 0) return "unknown CPU";
    std::memcpy(brand + i * 16, words, 16);
  }
  return std::string(Trim(brand));
}

size_t CgroupLimit() {
  for (const char* path : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    std::ifstream file(path);
    std::string word;
    if (file >> word) {
      if (const auto value = ParseInt(word)) return static_cast<size_t>(*value);
    }
  }
  return SIZE_MAX;
}

dnnl::cpu_isa DnnlIsa(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return dnnl::cpu_isa::sse41;
    case Isa::kAvx2:
      return dnnl::cpu_isa::avx2;
    case Isa::kAvx512:
      return dnnl::cpu_isa::avx512_core;
    case Isa::kAvx512Bf16:
      return dnnl::cpu_isa::all;
  }
  return dnnl::cpu_isa::all;
}

}  // namespace

Isa MachineIsa() noexcept {
  static const Isa isa = Probe();
  return isa;
}

Isa ActiveIsa() noexcept {
  const int lowered = lowered_isa.load(std::memory_order_relaxed);
  return lowered == kNotLowered ? MachineIsa() : static_cast<Isa>(lowered);
}

void SetActiveIsa(Isa isa) {
  if (isa > MachineIsa()) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("instruction set {}: this machine has at most {}", Name(isa), Name(MachineIsa())));
  }
  lowered_isa.store(static_cast<int>(isa), std::memory_order_relaxed);
  if (isa < MachineIsa()) dnnl::set_max_cpu_isa(DnnlIsa(isa));  // refused by oneDNN after its first primitive
}

void ApplyIsaChoice(std::string_view name) {
  const std::string choice = name.empty() ? EnvironmentVariable("TESSERA_ISA") : std::string(name);
  if (choice.empty()) return;
  const auto isa = ParseIsa(choice);
  if (!isa) {
    throw Error(ErrorKind::kUsage, fmt::format("unknown instruction set '{}'; known: scalar, avx2, avx512, avx512_bf16",
                                               Printable(choice)));
  }
  SetActiveIsa(*isa);
}

bool Bf16DotPays() noexcept {
  const Bf16Dot choice = bf16_dot.load(std::memory_order_relaxed);
  if (ActiveIsa() < Isa::kAvx512Bf16 || choice == Bf16Dot::kOff) return false;
  if (choice == Bf16Dot::kOn) return true;
  constexpr double kPays = 1.4;  // machines are near 1 or near 2
  static const bool pays = RelativePeak(PeakKind::kBf16) > kPays;
  return pays;
}

void SetBf16Dot(Bf16Dot choice) {
  if (choice == Bf16Dot::kOn && MachineIsa() < Isa::kAvx512Bf16) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("bf16 dot products: this machine has at most {}", Name(MachineIsa())));
  }
  bf16_dot.store(choice, std::memory_order_relaxed);
}

Device CpuDevice() {
  const auto pages = static_cast<size_t>(std::max(0L, ::sysconf(_SC_PHYS_PAGES)));
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return {DeviceKind::kCpu, CpuName(), ActiveIsa(), Bf16DotPays(), Threads(), std::min(pages * page, CgroupLimit())};
}

}  // namespace tessera
