#include "cli/bench_attention.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"
#include "attention/rules.h"
#include "base/error.h"
#include "base/text.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "platform/cpu/peak.h"
#include "tensor/storage.h"
#include "tensor/tensor.h"

namespace tessera {
namespace {

constexpr int kSampledRows = 24;
constexpr int kSequences = 4;  // of a varlen problem
constexpr int kPeakRuns = 3;

struct Job {
  AttentionProblem problem;
  const AttentionBackend* backend;
};

// Random operands of one problem. Key lengths fall from the whole length; varlen sequences are equally long.
struct Operands {
  Tensor q, k, v, out, lse, bias, gate;
  std::vector<int32_t> key_lengths, cu_seqlens_q, cu_seqlens_k;
  AttentionIO io;
};

// Any float dtype, normal with unit variance, the same for every machine and thread count.
Tensor NormalTensor(const Shape& shape, DType dtype, uint64_t seed) {
  Tensor tensor = Tensor::Empty(shape, DType::kF32);
  const int64_t rows = shape[0] * shape[1], row = shape.numel() / std::max<int64_t>(rows, 1);
  float* to = tensor.mutable_data<float>();
  ParallelFor(rows, 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      std::minstd_rand generator(static_cast<uint32_t>(seed * 1000003 + static_cast<uint64_t>(r) + 1));
      std::normal_distribution<float> normal;
      for (int64_t i = 0; i < row; ++i) to[r * row + i] = normal(generator);
    }
  });
  return dtype == DType::kF32 ? tensor : tensor.To(dtype);
}

BshdIn ViewOf(const Tensor& tensor) { return {tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)}; }

std::vector<int32_t> EqualSequences(int64_t length) {
  std::vector<int32_t> begins;
  for (int64_t s = 0; s <= kSequences; ++s) begins.push_back(static_cast<int32_t>(length * s / kSequences));
  return begins;
}

Operands MakeOperands(const AttentionProblem& p) {
  Operands made;
  const Shape q_shape{p.batch, p.q_len, p.heads, p.head_dim}, kv_shape{p.batch, p.kv_len, p.kv_heads, p.head_dim};
  made.q = NormalTensor(q_shape, p.dtype, 1);
  made.k = NormalTensor(kv_shape, p.dtype, 2);
  made.v = NormalTensor(kv_shape, p.dtype, 3);
  made.out = Tensor::Zeros(q_shape, p.dtype);
  made.lse = Tensor::Zeros(Shape{p.batch, p.heads, p.q_len}, DType::kF32);
  for (int64_t b = 0; b < p.batch; ++b) {
    made.key_lengths.push_back(static_cast<int32_t>(p.kv_len * (p.batch - b) / p.batch));
  }
  made.cu_seqlens_q = EqualSequences(p.q_len);
  made.cu_seqlens_k = EqualSequences(p.kv_len);
  made.io = {.q = ViewOf(made.q),
             .k = ViewOf(made.k),
             .v = ViewOf(made.v),
             .out = {made.out.mutable_raw(), made.out.stride(0), made.out.stride(1), made.out.stride(2)},
             .lse = made.lse.mutable_data<float>(),
             .bias = {},
             .key_lengths = made.key_lengths,
             .cu_seqlens_q = made.cu_seqlens_q,
             .cu_seqlens_k = made.cu_seqlens_k,
             .gate = {},
             .blocks = nullptr};
  if ((p.mask & kMaskBias) != 0) {
    made.bias = NormalTensor(Shape{p.q_len, p.kv_len}, DType::kF32, 4);
    made.io.bias = {made.bias.raw(), DType::kF32, 0, 0, p.kv_len};
  }
  if (p.has_gate) {
    made.gate = NormalTensor(q_shape, p.dtype, 5);
    made.io.gate = ViewOf(made.gate);
  }
  return made;
}

double Element(const Tensor& tensor, int64_t index) {
  if (tensor.dtype() == DType::kF32) return static_cast<double>(tensor.data<float>()[index]);
  if (tensor.dtype() == DType::kBF16) return static_cast<double>(ToFloat(tensor.data<BFloat16>()[index]));
  return static_cast<double>(ToFloat(tensor.data<Float16>()[index]));
}

struct KeyRange {
  int64_t begin, end;
};

// Keys that the structural masks leave to a query; may be empty.
KeyRange VisibleKeys(const AttentionProblem& p, const Operands& operands, int64_t batch, int64_t query) {
  KeyRange range{0, p.kv_len};
  int64_t q_begin = 0, q_len = p.q_len;
  if ((p.mask & kMaskKeyLengths) != 0) range.end = operands.key_lengths[static_cast<size_t>(batch)];
  if ((p.mask & kMaskVarlen) != 0) {
    const auto& begins = operands.cu_seqlens_q;
    const auto s = static_cast<size_t>(std::upper_bound(begins.begin(), begins.end(), query) - begins.begin()) - 1;
    q_begin = begins[s];
    q_len = begins[s + 1] - begins[s];
    range = {operands.cu_seqlens_k[s], operands.cu_seqlens_k[s + 1]};
  }
  const int64_t kv_len = (p.mask & kMaskVarlen) != 0 ? range.end - range.begin : p.kv_len;
  const int64_t diagonal = range.begin + query - q_begin + 1;
  if ((p.mask & kMaskCausal) != 0) range.end = std::min(range.end, diagonal + kv_len - q_len);
  if ((p.mask & kMaskCausalTopLeft) != 0) range.end = std::min(range.end, diagonal);
  return range;
}

// 4 * head_dim per visible pair of query and key.
double Operations(const AttentionProblem& p, const Operands& operands) {
  double pairs = 0;
  for (int64_t batch = 0; batch < p.batch; ++batch) {
    for (int64_t query = 0; query < p.q_len; ++query) {
      const KeyRange range = VisibleKeys(p, operands, batch, query);
      pairs += static_cast<double>(std::max<int64_t>(range.end - range.begin, 0));
    }
  }
  return 4.0 * p.head_dim * p.heads * pairs;
}

struct Row {
  int64_t batch, query;
  int head;
};

// The exact output of one query in double precision.
std::vector<double> ExactRow(const AttentionProblem& p, const Operands& operands, const Row& row) {
  const auto at = [&](int64_t tokens, int heads, int64_t token, int head) {
    return ((row.batch * tokens + token) * heads + head) * p.head_dim;
  };
  const int kv_head = row.head / (p.heads / p.kv_heads);
  const int64_t query = at(p.q_len, p.heads, row.query, row.head);
  std::vector<double> scores(static_cast<size_t>(p.kv_len), -INFINITY), out(static_cast<size_t>(p.head_dim));
  const KeyRange visible = VisibleKeys(p, operands, row.batch, row.query);
  for (int64_t j = visible.begin; j < visible.end; ++j) {
    double score = 0;
    const int64_t key = at(p.kv_len, p.kv_heads, j, kv_head);
    for (int d = 0; d < p.head_dim; ++d) score += Element(operands.q, query + d) * Element(operands.k, key + d);
    const double bias = operands.bias.defined() ? Element(operands.bias, row.query * p.kv_len + j) : 0;
    scores[static_cast<size_t>(j)] = score * static_cast<double>(p.softmax_scale()) + bias;
  }
  const double most = scores.empty() ? -INFINITY : *std::max_element(scores.begin(), scores.end());
  if (most == -INFINITY) return out;
  double sum = 0;
  for (int64_t j = visible.begin; j < visible.end; ++j) {
    const double weight = std::exp(scores[static_cast<size_t>(j)] - most);
    sum += weight;
    const int64_t value = at(p.kv_len, p.kv_heads, j, kv_head);
    for (int d = 0; d < p.head_dim; ++d) out[static_cast<size_t>(d)] += weight * Element(operands.v, value + d);
  }
  for (double& x : out) x /= sum;
  return out;
}

// sum |out - exact| / sum |exact| over rows spread evenly over the call.
double RelativeError(const AttentionProblem& p, const Operands& operands) {
  const int64_t rows = p.batch * p.heads * p.q_len, samples = std::min<int64_t>(kSampledRows, rows);
  double difference = 0, size = 1e-300;
  for (int64_t n = 0; n < samples; ++n) {
    const int64_t row = (2 * n + 1) * rows / (2 * samples);
    const Row at{row / p.q_len / p.heads, row % p.q_len, static_cast<int>(row / p.q_len % p.heads)};
    const auto exact = ExactRow(p, operands, at);
    const int64_t first = ((at.batch * p.q_len + at.query) * p.heads + at.head) * p.head_dim;
    for (int d = 0; d < p.head_dim; ++d) {
      difference += std::abs(Element(operands.out, first + d) - exact[static_cast<size_t>(d)]);
      size += std::abs(exact[static_cast<size_t>(d)]);
    }
  }
  return difference / size;
}

double MedianSeconds(AttentionPlan* plan, const AttentionIO& io, std::span<std::byte> workspace, int runs) {
  std::vector<double> seconds;
  plan->BeginStep(0);
  for (int i = 0; i <= runs; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    plan->Run(io, workspace);
    if (i > 0) seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2), seconds.end());
  return seconds[seconds.size() / 2];
}

// Peaks in operations per second, measured once per call of the benchmark.
struct Peaks {
  double f32, bf16, int8;
  double Of(std::string_view arithmetic) const {
    const double peak = arithmetic == "int8" ? int8 : arithmetic == "bf16" ? bf16 : f32;
    return peak > 0 ? peak : f32;
  }
};

double Round(double value, double step) { return std::round(value / step) * step; }

nlohmann::ordered_json Measure(const Job& job, const Device& device, const Peaks& peaks,
                               const BenchAttentionOptions& options) {
  Operands operands = MakeOperands(job.problem);
  const auto plan = MakePlan(*job.backend, job.problem, device, options.options);
  const size_t bytes = plan->workspace_bytes();
  const auto workspace = AllocateAligned(bytes);
  const double seconds = MedianSeconds(plan.get(), operands.io, {workspace.get(), bytes}, options.runs);
  if (!plan->failure().empty()) {
    throw Error(ErrorKind::kUnsupported, fmt::format("attention backend '{}' failed at '{}': {}", job.backend->name,
                                                     Print(job.problem), Printable(plan->failure(), 300)));
  }
  const double speed = Operations(job.problem, operands) / seconds;
  const std::string_view problem_arithmetic = job.problem.dtype == DType::kBF16 ? "bf16" : "f32";
  nlohmann::ordered_json object;
  object["problem"] = Print(job.problem);
  object["backend"] = job.backend->name;
  object["isa"] = Name(device.isa);
  object["threads"] = Threads();
  object["median_ms"] = Round(seconds * 1e3, 1e-4);
  object["gflops"] = Round(speed / 1e9, 0.01);
  object["share_of_peak"] = Round(speed / peaks.Of(problem_arithmetic), 1e-4);
  object["arithmetic"] = plan->arithmetic();
  object["share_of_arithmetic_peak"] = Round(speed / peaks.Of(plan->arithmetic()), 1e-4);
  object["rel_l1"] = RelativeError(job.problem, operands);
  object["workspace_bytes"] = bytes;
  return object;
}

std::vector<Job> JobsOf(const BenchAttentionOptions& options, const Device& device) {
  const AttentionRegistry& registry = options.registry ? *options.registry : AttentionRegistry::BuiltIn();
  std::vector<Job> jobs;
  for (const std::string& line : options.problems) {
    for (const std::string& name : options.backends) {
      const Job job{ParseAttentionProblem(line), &registry.Find(name)};
      const auto reasons = Refusals(*job.backend, job.problem, device);
      if (!reasons.empty()) {
        const std::vector<std::string> words(reasons.begin(), reasons.end());
        throw Error(ErrorKind::kUnsupported, fmt::format("attention backend '{}' cannot serve '{}': {}", name,
                                                         Print(job.problem), Join(words, "; ")));
      }
      ResolveOptions(*job.backend, options.options);
      jobs.push_back(job);
    }
  }
  return jobs;
}

std::string TextLine(const nlohmann::ordered_json& object) {
  return fmt::format(
      "{}  {} {} threads {}: {:.3f} ms  {:.1f} GFLOP/s  {:.1f} % of peak ({} arithmetic: {:.1f} %)  rel_l1 {:.2g}",
      object["problem"].get<std::string>(), object["backend"].get<std::string>(), object["isa"].get<std::string>(),
      object["threads"].get<int>(), object["median_ms"].get<double>(), object["gflops"].get<double>(),
      100 * object["share_of_peak"].get<double>(), object["arithmetic"].get<std::string>(),
      100 * object["share_of_arithmetic_peak"].get<double>(), object["rel_l1"].get<double>());
}

}  // namespace

int BenchAttention(const BenchAttentionOptions& options) {
  const Device device = CpuDevice();
  const auto jobs = JobsOf(options, device);
  if (jobs.empty()) throw Error(ErrorKind::kUsage, "bench attention: no problem lines or no backends given");
  if (options.runs < 1)
    throw Error(ErrorKind::kUsage, fmt::format("bench attention: {} runs, wanted at least 1", options.runs));
  const Peaks peaks{MeasurePeak(PeakKind::kF32, kPeakRuns), MeasurePeak(PeakKind::kBf16, kPeakRuns),
                    MeasurePeak(PeakKind::kInt8, kPeakRuns)};
  auto objects = nlohmann::ordered_json::array();
  for (const Job& job : jobs) {
    objects.push_back(Measure(job, device, peaks, options));
    if (options.format == BenchFormat::kText) std::puts(TextLine(objects.back()).c_str());
    std::fflush(stdout);
  }
  if (options.format == BenchFormat::kJson) std::puts(objects.dump(2).c_str());
  return 0;
}

}  // namespace tessera
