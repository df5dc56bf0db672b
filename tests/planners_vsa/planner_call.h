// Calls of planners with any kernel: operands, what a decision shows to every query, and the answer in doubles.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "attention/backend.h"
#include "attention/block_plan.h"
#include "weights/safetensors.h"

namespace tessera {

// Values are [batch, seq, heads, head_dim], rounded to the problem's dtype.
struct PlannerOperands {
  AttentionProblem problem;
  std::vector<float> q, k, v, gate;
  std::vector<int32_t> key_lengths;

  // Normal values; `gate` only where the problem has one.
  static PlannerOperands Random(const AttentionProblem& problem, uint64_t seed);
  // The inputs of a recording; `gate` when the problem has one.
  static PlannerOperands Recorded(const AttentionProblem& problem, const SafetensorsFile& file);
  const float* Row(const std::vector<float>& values, int heads, int64_t batch, int64_t token, int head) const;
};

struct PlannerOutcome {
  std::vector<float> out;  // [batch, seq, heads, head_dim]
  std::vector<float> lse;  // [batch, heads, seq]
  double density = 1;
  int64_t allocations = 0;  // of this thread in Run
};

struct PlannerPlace {
  int step = 0, layer = 0;
};

// One call of a plan that BeginRequest has prepared.
PlannerOutcome RunAt(AttentionPlan& plan, const PlannerOperands& operands, PlannerPlace place = {});
// A plan of its own for one call; the problem then asks for the log-sum-exp.
std::unique_ptr<AttentionPlan> PlanFor(const std::string& backend, const AttentionProblem& problem,
                                       const Options& options);

// [batch * heads, seq, seq]: whether a query sees a key; a null plan shows everything.
std::vector<uint8_t> SeenPairs(const BlockPlan* plan, const PlannerOperands& operands);

// Softmax over the seen pairs, in doubles; [batch, seq, heads, head_dim].
std::vector<double> Attend(const PlannerOperands& operands, const std::vector<uint8_t>& seen);

// Expects `exact` of every composition of the planner that takes the problem, in relative L1: 0.01 of exact kernels,
// 0.25 of the others. Returns how many there are.
int ExpectEveryKernelRight(const std::string& planner, const PlannerOperands& operands, const Options& options,
                           const std::vector<double>& exact);

double MostApart(const std::vector<float>& a, const std::vector<double>& b);
double MostApart(const std::vector<float>& a, const std::vector<float>& b);

// Problem and options as recordings and rule files spell them. The dtype becomes f32.
AttentionProblem RecordedProblem(const std::string& line);
Options OptionsFrom(const nlohmann::json& config);

std::vector<float> Floats(const SafetensorsFile& file, const std::string& key);
std::vector<int32_t> Wholes(const SafetensorsFile& file, const std::string& key);
std::vector<uint8_t> Bytes(const SafetensorsFile& file, const std::string& key);

}  // namespace tessera
