#include "cli/bench_layers.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "kernels/convolution/convolution.h"
#include "kernels/linear/gemm.h"
#include "kernels/onednn/engine.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "platform/cpu/peak.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;
using dnnl::memory;

constexpr std::string_view kLinearDefaults[] = {"1536x3072x3072 bf16",  "1536x3072x9216 bf16", "1536x3072x18432 bf16",
                                                "1536x3072x27648 bf16", "1536x9216x3072 bf16", "1536x12288x3072 bf16",
                                                "1x3072x18432 bf16"};
constexpr std::string_view kConvolutionDefaults[] = {"64x64x512 512 f32", "128x128x512 512 f32", "256x256x512 256 f32",
                                                     "256x256x256 256 f32", "512x512x128 128 f32"};

// The words of a line; numbers joined by 'x' are words of their own.
std::vector<std::string> Words(std::string_view line) {
  std::vector<std::string> words(1);
  for (const char c : line) {
    const bool joins =
        c == 'x' && !words.back().empty() && words.back().find_first_not_of("0123456789") == std::string::npos;
    if (joins || c == ' ') {
      if (!words.back().empty()) words.emplace_back();
    } else {
      words.back().push_back(c);
    }
  }
  if (words.back().empty()) words.pop_back();
  return words;
}

constexpr int64_t kLargestSize = 1 << 24;

[[noreturn]] void RefuseLine(std::string_view line, std::string_view example) {
  throw Error(ErrorKind::kUsage, fmt::format("problem '{}' is not of the form '{}'", Printable(line), example));
}

int64_t ParseSize(std::string_view word, std::string_view line, std::string_view example) {
  const auto value = ParseInt(word);
  if (!value || *value < 1 || *value > kLargestSize) RefuseLine(line, example);
  return *value;
}

DType ParseActivationType(std::string_view word, std::string_view line, std::string_view example) {
  const auto dtype = ParseDType(word);
  if (!dtype || (*dtype != DType::kF32 && *dtype != DType::kBF16)) RefuseLine(line, example);
  return *dtype;
}

Tensor RandomTensor(const Shape& shape, unsigned seed) {
  Tensor tensor = Tensor::Empty(shape, DType::kF32);
  std::minstd_rand engine(seed);
  for (float& x : std::span(tensor.mutable_data<float>(), static_cast<size_t>(tensor.numel()))) {
    x = static_cast<float>(engine() % 2048) / 1024.0f - 1.0f;
  }
  return tensor;
}

// Largest difference relative to the largest expected value.
double Difference(const Tensor& actual, const Tensor& expected) {
  const Tensor a = actual.To(DType::kF32), b = expected.To(DType::kF32);
  double difference = 0, largest = 1e-30;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double x = static_cast<double>(a.data<float>()[i]), y = static_cast<double>(b.data<float>()[i]);
    difference = std::isnan(x) ? x : std::max(difference, std::abs(x - y));
    largest = std::max(largest, std::abs(y));
  }
  return difference / largest;
}

double Seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct Times {
  double ours, peer;
};
// In turns, so that both see the same machine.
Times MedianTimes(int runs, const std::function<void()>& ours, const std::function<void()>& peer) {
  std::vector<double> our_seconds, peer_seconds;
  for (int i = 0; i <= runs; ++i) {
    const double first = Seconds(ours), second = Seconds(peer);
    if (i == 0) continue;
    our_seconds.push_back(first);
    peer_seconds.push_back(second);
  }
  return {Median(our_seconds), Median(peer_seconds)};
}

// The arithmetic that is fastest here for operands of this type: ours and the peer's.
DType Arithmetic(DType dtype) { return dtype == DType::kBF16 && Bf16DotPays() ? DType::kBF16 : DType::kF32; }
memory::data_type OneDnnType(DType dtype) {
  return dtype == DType::kBF16 ? memory::data_type::bf16 : memory::data_type::f32;
}

struct Outcome {
  std::string problem;
  DType arithmetic;
  double operations;
  Times times;
  double difference;
};

Json ObjectOf(const Outcome& outcome) {
  const double peak = MeasurePeak(outcome.arithmetic == DType::kBF16 ? PeakKind::kBf16 : PeakKind::kF32, 3);
  const auto rounded = [](double value, double step) { return std::round(value / step) * step; };
  Json object;
  object["problem"] = outcome.problem;
  object["isa"] = Name(ActiveIsa());
  object["threads"] = Threads();
  object["arithmetic"] = Name(outcome.arithmetic);
  object["median_ms"] = rounded(outcome.times.ours * 1e3, 1e-4);
  object["gflops"] = rounded(outcome.operations / outcome.times.ours / 1e9, 0.01);
  object["share_of_peak"] = rounded(outcome.operations / outcome.times.ours / peak, 1e-4);
  object["onednn_ms"] = rounded(outcome.times.peer * 1e3, 1e-4);
  object["share_of_onednn"] = rounded(outcome.times.peer / outcome.times.ours, 1e-4);
  object["rel_difference"] = outcome.difference;
  return object;
}

std::string TextLine(const Json& object) {
  return fmt::format(
      "{}  {} threads {}: {:.3f} ms  {:.1f} GFLOP/s  {:.1f} % of {} peak  {:.1f} % of oneDNN's speed  difference "
      "{:.2g}",
      object["problem"].get<std::string>(), object["isa"].get<std::string>(), object["threads"].get<int>(),
      object["median_ms"].get<double>(), object["gflops"].get<double>(), 100 * object["share_of_peak"].get<double>(),
      object["arithmetic"].get<std::string>(), 100 * object["share_of_onednn"].get<double>(),
      object["rel_difference"].get<double>());
}

memory Filled(const memory::desc& desc, const memory::desc& plain, const Tensor& values) {
  memory target(desc, CpuEngine());
  memory source = MemoryOver(plain, values.raw());
  dnnl::reorder(source, target).execute(ThreadStream(), source, target);
  return target;
}

Outcome MeasureLinear(const LinearProblem& problem, int runs) {
  const Tensor src = RandomTensor({problem.rows, problem.in}, 1), weight = RandomTensor({problem.out, problem.in}, 2);
  const Tensor our_src = src.To(problem.dtype), our_weight = weight.To(problem.dtype);
  Tensor dst = Tensor::Zeros({problem.rows, problem.out}, problem.dtype);
  Workspace workspace(GemmWorkspaceBytes(problem.rows, problem.in, problem.out, problem.dtype, problem.dtype));

  const DType arithmetic = Arithmetic(problem.dtype);
  const Tensor peer_src = our_src.To(arithmetic), peer_weight = our_weight.To(arithmetic);
  Tensor peer_dst = Tensor::Zeros(dst.shape(), arithmetic);
  const auto type = OneDnnType(arithmetic);
  const memory::desc a({problem.rows, problem.in}, type, memory::format_tag::ab);
  const memory::desc b({problem.in, problem.out}, type, memory::format_tag::ba);
  const memory::desc c({problem.rows, problem.out}, type, memory::format_tag::ab);
  const dnnl::matmul matmul(dnnl::matmul::primitive_desc(dnnl::matmul::desc(a, b, c), CpuEngine()));
  const std::unordered_map<int, memory> operands = {{DNNL_ARG_SRC, MemoryOver(a, peer_src.raw())},
                                                    {DNNL_ARG_WEIGHTS, MemoryOver(b, peer_weight.raw())},
                                                    {DNNL_ARG_DST, MemoryOver(c, peer_dst.mutable_raw())}};
  const Times times = MedianTimes(
      runs, [&] { Gemm(our_src, our_weight, Tensor(), dst, workspace); },
      [&] { matmul.execute(ThreadStream(), operands); });
  const double operations = 2.0 * static_cast<double>(problem.rows * problem.in) * static_cast<double>(problem.out);
  return {Print(problem), arithmetic, operations, times, Difference(dst, peer_dst)};
}

Outcome MeasureConvolution(const ConvolutionProblem& problem, int runs) {
  const int64_t pad_begin = problem.stride == 1 ? problem.kernel / 2 : 0;
  const ConvolutionShape shape{problem.in, problem.out, problem.kernel, problem.stride, pad_begin, problem.kernel / 2};
  const Tensor src = RandomTensor({1, problem.height, problem.width, problem.in}, 1);
  const Tensor weight = RandomTensor({problem.out, problem.in, problem.kernel, problem.kernel}, 2);
  const Tensor bias = Tensor::Zeros({problem.out}, DType::kF32);
  const Convolution convolution(weight, bias, shape, problem.dtype);
  const Tensor our_src = src.To(problem.dtype);
  Tensor dst = Tensor::Zeros(convolution.OutputShape(src.shape()), problem.dtype);
  Workspace workspace(convolution.WorkspaceBytes(src.shape()));

  const DType arithmetic = Arithmetic(problem.dtype);
  const memory::dims src_sizes = {1, problem.in, problem.height, problem.width};
  const memory::dims dst_sizes = {1, problem.out, dst.dim(1), dst.dim(2)}, steps = {problem.stride, problem.stride};
  const memory::dims weight_sizes = {problem.out, problem.in, problem.kernel, problem.kernel};
  const auto any = [&](const memory::dims& sizes) {
    return memory::desc(sizes, OneDnnType(arithmetic), memory::format_tag::any);
  };
  const dnnl::convolution_forward::primitive_desc desc({dnnl::prop_kind::forward_inference,
                                                        dnnl::algorithm::convolution_direct,
                                                        any(src_sizes),
                                                        any(weight_sizes),
                                                        any(dst_sizes),
                                                        steps,
                                                        {pad_begin, pad_begin},
                                                        {shape.pad_end, shape.pad_end}},
                                                       CpuEngine());
  const dnnl::convolution_forward peer(desc);
  const auto plain = [&](const memory::dims& sizes, memory::format_tag tag) {
    return memory::desc(sizes, memory::data_type::f32, tag);
  };
  memory result(desc.dst_desc(), CpuEngine());
  const std::unordered_map<int, memory> operands = {
      {DNNL_ARG_SRC, Filled(desc.src_desc(), plain(src_sizes, memory::format_tag::nhwc), our_src.To(DType::kF32))},
      {DNNL_ARG_WEIGHTS, Filled(desc.weights_desc(), plain(weight_sizes, memory::format_tag::nchw), weight)},
      {DNNL_ARG_DST, result}};
  const Times times = MedianTimes(
      runs, [&] { convolution.Forward(our_src, dst, workspace); }, [&] { peer.execute(ThreadStream(), operands); });
  Tensor peer_dst = Tensor::Zeros(dst.shape(), DType::kF32);
  memory readable = MemoryOver(plain(dst_sizes, memory::format_tag::nhwc), peer_dst.raw());
  dnnl::reorder(result, readable).execute(ThreadStream(), result, readable);
  const double operations = 2.0 * static_cast<double>(dst.numel()) * static_cast<double>(problem.in) *
                            static_cast<double>(problem.kernel * problem.kernel);
  return {Print(problem), arithmetic, operations, times, Difference(dst, peer_dst)};
}

void CheckRuns(int runs) {
  if (runs < 1) throw Error(ErrorKind::kUsage, fmt::format("bench: {} runs, wanted at least 1", runs));
}

template <class Problem>
int MeasureAll(const std::vector<Problem>& problems, const BenchLayersOptions& options,
               Outcome (*measure)(const Problem&, int)) {
  Json objects = Json::array();
  for (const Problem& problem : problems) {
    objects.push_back(ObjectOf(measure(problem, options.runs)));
    if (options.format == BenchFormat::kText) std::puts(TextLine(objects.back()).c_str());
    std::fflush(stdout);
  }
  if (options.format == BenchFormat::kJson) std::puts(objects.dump(2).c_str());
  return 0;
}

template <class Problem>
std::vector<Problem> ParseAll(const BenchLayersOptions& options, std::span<const std::string_view> defaults,
                              Problem (*parse)(std::string_view)) {
  CheckRuns(options.runs);
  std::vector<Problem> problems;
  for (const std::string& line : options.problems) problems.push_back(parse(line));
  if (problems.empty()) std::transform(defaults.begin(), defaults.end(), std::back_inserter(problems), parse);
  return problems;
}

}  // namespace

LinearProblem ParseLinearProblem(std::string_view line) {
  constexpr std::string_view kExample = "1536x3072x9216 bf16";
  const auto words = Words(line);
  if (words.size() < 3 || words.size() > 4) RefuseLine(line, kExample);
  LinearProblem problem;
  problem.rows = ParseSize(words[0], line, kExample);
  problem.in = ParseSize(words[1], line, kExample);
  problem.out = ParseSize(words[2], line, kExample);
  if (words.size() == 4) problem.dtype = ParseActivationType(words[3], line, kExample);
  return problem;
}

ConvolutionProblem ParseConvolutionProblem(std::string_view line) {
  constexpr std::string_view kExample = "128x128x512 512 k3 s1 f32";
  const auto words = Words(line);
  if (words.size() < 4) RefuseLine(line, kExample);
  ConvolutionProblem problem;
  problem.height = ParseSize(words[0], line, kExample);
  problem.width = ParseSize(words[1], line, kExample);
  problem.in = ParseSize(words[2], line, kExample);
  problem.out = ParseSize(words[3], line, kExample);
  for (const std::string& word : std::span(words).subspan(4)) {
    const std::string_view rest = std::string_view(word).substr(1);
    if (word[0] == 'k') {
      problem.kernel = ParseSize(rest, line, kExample);
    } else if (word[0] == 's') {
      problem.stride = ParseSize(rest, line, kExample);
    } else {
      problem.dtype = ParseActivationType(word, line, kExample);
    }
  }
  return problem;
}

std::string Print(const LinearProblem& problem) {
  return fmt::format("{}x{}x{} {}", problem.rows, problem.in, problem.out, Name(problem.dtype));
}

std::string Print(const ConvolutionProblem& problem) {
  return fmt::format("{}x{}x{} {} k{} s{} {}", problem.height, problem.width, problem.in, problem.out, problem.kernel,
                     problem.stride, Name(problem.dtype));
}

int BenchLinear(const BenchLayersOptions& options) {
  return MeasureAll(ParseAll(options, kLinearDefaults, ParseLinearProblem), options, MeasureLinear);
}

int BenchConvolution(const BenchLayersOptions& options) {
  return MeasureAll(ParseAll(options, kConvolutionDefaults, ParseConvolutionProblem), options, MeasureConvolution);
}

}  // namespace tessera
