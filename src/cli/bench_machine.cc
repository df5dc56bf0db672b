#include "cli/bench_machine.h"

#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "platform/cpu/cpu.h"
#include "platform/cpu/peak.h"

namespace tessera {
namespace {

double Giga(double value) { return std::round(value / 1e8) / 10; }

}  // namespace

int BenchMachine(const BenchMachineOptions& options) {
  const Device device = CpuDevice();
  nlohmann::ordered_json object;
  object["cpu"] = device.name;
  object["isa"] = Name(device.isa);
  object["threads"] = device.threads;
  object["memory_bytes"] = device.memory_bytes;
  object["bf16_dot_pays"] = device.bf16_dot_pays;
  object["f32_gflops"] = Giga(MeasurePeak(PeakKind::kF32, options.runs));
  object["bf16_gflops"] = Giga(MeasurePeak(PeakKind::kBf16, options.runs));
  object["int8_gops"] = Giga(MeasurePeak(PeakKind::kInt8, options.runs));
  object["read_gbytes_per_second"] = Giga(MeasureReadBandwidth(options.runs));
  if (options.format == BenchFormat::kJson) {
    std::puts(object.dump(2).c_str());
    return 0;
  }
  for (const auto& [key, value] : object.items()) {
    std::puts(fmt::format("{:<24}{}", key, value.is_string() ? value.get<std::string>() : value.dump()).c_str());
  }
  return 0;
}

}  // namespace tessera
