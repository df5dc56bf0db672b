#include "conformance/attention_grid.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr double kMostFlops = 1.2e7;  // of one case, so that the doubles stay quick

constexpr std::array<MaskFeatures, 14> kMasks = {
    kMaskNone,
    kMaskCausal,
    kMaskCausalTopLeft,
    kMaskKeyLengths,
    kMaskCausal | kMaskKeyLengths,
    kMaskCausalTopLeft | kMaskKeyLengths,
    kMaskVarlen,
    kMaskVarlen | kMaskCausal,
    kMaskVarlen | kMaskCausalTopLeft,
    kMaskBias,
    kMaskBias | kMaskCausal,
    kMaskBias | kMaskCausalTopLeft | kMaskKeyLengths,
    kMaskBias | kMaskKeyLengths,
    kMaskBias | kMaskVarlen | kMaskCausal,
};
constexpr std::array<int64_t, 24> kLengths = {1,  2,  3,   15,  16,  17,  31,  33,  47,  63,  64,  65,
                                              79, 96, 127, 128, 129, 191, 257, 333, 511, 513, 601, 1000};
constexpr std::array<int, 16> kHeadDims = {8, 16, 32, 40, 64, 64, 72, 80, 96, 112, 128, 128, 160, 192, 256, 128};
constexpr std::array<int, 12> kOddHeadDims = {1, 2, 3, 5, 7, 33, 77, 100, 320, 512, 777, 1024};
constexpr std::array<int, 5> kGroups = {1, 1, 2, 4, 8};

template <class T, size_t N>
T Pick(const std::array<T, N>& values, std::mt19937_64& random) {
  return values[random() % N];
}

// Halves what is largest until the case is small enough.
void Shrink(AttentionProblem& problem) {
  while (4.0 * static_cast<double>(problem.batch * problem.q_len * problem.kv_len) * problem.heads * problem.head_dim >
         kMostFlops) {
    if (problem.heads > problem.kv_heads && problem.kv_heads > 1) {
      problem.heads /= problem.kv_heads;
      problem.kv_heads = 1;
    } else if (problem.batch > 1) {
      problem.batch = 1;
    } else if (problem.q_len == problem.kv_len) {
      problem.q_len = problem.kv_len = problem.q_len * 2 / 3;
    } else {
      int64_t& longer = problem.q_len > problem.kv_len ? problem.q_len : problem.kv_len;
      longer = longer * 2 / 3;
    }
  }
}

AttentionProblem DrawProblem(int index, std::mt19937_64& random) {
  AttentionProblem problem;
  problem.dtype = std::array{DType::kBF16, DType::kF32, DType::kF16}[static_cast<size_t>(index) % 3];
  problem.mask = kMasks[static_cast<size_t>(index / 3) % kMasks.size()];
  problem.head_dim = random() % 4 == 0 ? Pick(kOddHeadDims, random) : Pick(kHeadDims, random);
  problem.kv_heads = static_cast<int>(1 + random() % 3);
  problem.heads = problem.kv_heads * Pick(kGroups, random);
  problem.batch = (problem.mask & kMaskVarlen) != 0 ? 1 : static_cast<int64_t>(1 + random() % 3);
  problem.q_len = Pick(kLengths, random);
  problem.kv_len = random() % 2 == 0 ? problem.q_len : Pick(kLengths, random);
  problem.needs_lse = random() % 4 != 0;
  if (random() % 8 == 0) problem.scale = 0.25f;
  if (problem.q_len != problem.kv_len) problem.role = AttentionRole::kCross;
  Shrink(problem);
  return problem;
}

// Plans change what is visible; causal masks on top of them only where tokens keep their order.
PlanKind DrawPlanKind(const AttentionProblem& problem, std::mt19937_64& random) {
  if (random() % 2 != 0 || (problem.mask & kMaskVarlen) != 0) return PlanKind::kNone;
  if ((problem.mask & (kMaskCausal | kMaskCausalTopLeft)) != 0)
    return random() % 2 == 0 ? PlanKind::kShared : PlanKind::kNone;
  return static_cast<PlanKind>(1 + random() % 4);
}

CaseSpec DrawSpec(int index) {
  std::mt19937_64 random(static_cast<uint64_t>(index) * 7919 + 1);
  CaseSpec spec;
  spec.problem = DrawProblem(index, random);
  spec.layout = static_cast<Layout>(random() % 3);
  spec.values = static_cast<Values>(random() % 3);
  spec.bias = static_cast<BiasKind>(random() % 4);
  spec.bias_shape = static_cast<BiasShape>(random() % 3);
  spec.plan = DrawPlanKind(spec.problem, random);
  spec.seed = random();
  return spec;
}

CaseSpec DrawFilm(int index) {
  std::mt19937_64 random(static_cast<uint64_t>(index) * 6007 + 5);
  const auto below = [&](int64_t bound) { return static_cast<int64_t>(random() % static_cast<uint64_t>(bound)); };
  CaseSpec spec;
  AttentionProblem& problem = spec.problem;
  problem.dtype = std::array{DType::kBF16, DType::kF32, DType::kF16}[static_cast<size_t>(index) % 3];
  VideoGrid grid{1 + below(6), 1 + below(9), 1 + below(11), 0, 0};
  if (below(4) == 0) grid.t = 1;
  if (below(3) == 0) grid.prefix = below(40);
  if (below(3) == 0) grid.suffix = below(40);
  problem.head_dim = std::array{16, 32, 64, 64, 40, 128}[static_cast<size_t>(below(6))];
  problem.kv_heads = static_cast<int>(1 + below(2));
  problem.heads = problem.kv_heads * (below(5) == 0 ? 2 : 1);
  problem.batch = below(4) == 0 ? 2 : 1;
  problem.q_len = problem.kv_len = grid.prefix + grid.t * grid.h * grid.w + grid.suffix;
  problem.grid = grid;
  problem.needs_lse = below(2) == 0;
  if (below(4) == 0) problem.mask = kMaskKeyLengths;
  if (below(12) == 0) problem.mask = Pick(kMasks, random) & ~static_cast<MaskFeatures>(kMaskVarlen);
  spec.layout = static_cast<Layout>(below(3));
  spec.values = static_cast<Values>(below(2));
  spec.seed = random();
  return spec;
}

}  // namespace

std::vector<CaseSpec> FilmGrid(int cases) {
  std::vector<CaseSpec> specs;
  for (int index = 0; index < cases; ++index) specs.push_back(DrawFilm(index));
  return specs;
}

std::vector<CaseSpec> AttentionGrid(int cases) {
  std::vector<CaseSpec> specs;
  for (int index = 0; index < cases; ++index) specs.push_back(DrawSpec(index));
  return specs;
}

std::vector<std::string> ProblemLines(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw Error(ErrorKind::kIo, "cannot read attention problems from " + path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) {
    const std::string_view text = Trim(std::string_view(line).substr(0, line.find('#')));
    if (!text.empty()) lines.emplace_back(text);
  }
  return lines;
}

}  // namespace tessera
