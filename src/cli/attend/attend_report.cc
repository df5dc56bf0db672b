#include "cli/attend/attend_report.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr size_t kMostTokenMaskBytes = size_t{64} << 20;
constexpr size_t kMostBlockMaskBytes = size_t{1} << 30;

using Json = nlohmann::ordered_json;

Json ToJson(const OptionValue& value) {
  return std::visit([](const auto& held) { return Json(held); }, value);
}

Json ToJson(const Options& options) {
  Json object = Json::object();
  for (const auto& [key, value] : options.values()) object[key] = ToJson(value);
  return object;
}

double Element(const Tensor& tensor, int64_t index) {
  if (tensor.dtype() == DType::kF32) return static_cast<double>(tensor.data<float>()[index]);
  if (tensor.dtype() == DType::kBF16) return static_cast<double>(ToFloat(tensor.data<BFloat16>()[index]));
  return static_cast<double>(ToFloat(tensor.data<Float16>()[index]));
}

bool IsFloat(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16; }

// Against the file's own `out`; rows of padding are left out.
Json AgainstExpected(const AttendOutcome& outcome) {
  const Tensor& expected = outcome.call.expected_out;
  const Tensor& out = outcome.result.out;
  if (!expected.defined() || !(expected.shape() == out.shape()) || !IsFloat(expected.dtype())) return nullptr;
  const auto& lengths = outcome.call.key_lengths;
  const bool padded = outcome.call.problem.grid.has_value() && !lengths.empty();
  const int64_t row = out.dim(2) * out.dim(3);
  Difference difference;
  for (int64_t token = 0; token < out.dim(0) * out.dim(1); ++token) {
    if (padded && token % out.dim(1) >= lengths[static_cast<size_t>(token / out.dim(1))]) continue;
    for (int64_t i = token * row; i < (token + 1) * row; ++i) difference.Add(Element(out, i), Element(expected, i));
  }
  return {{"rel_l1", difference.rel_l1()}, {"max_abs", difference.max_abs()}};
}

bool HasMask(const AttendOutcome& outcome) {
  const auto& decision = outcome.result.decision;
  return BlockMaskBytes(decision ? &*decision : nullptr, outcome.call.problem) <= kMostBlockMaskBytes;
}

PlanMasks MasksFor(const AttendOutcome& outcome) {
  const auto& decision = outcome.result.decision;
  return MasksOf(decision ? &*decision : nullptr, outcome.call.problem);
}

Json MaskEquals(const AttendOutcome& outcome) {
  const Tensor& expected = outcome.call.expected_mask;
  if (!expected.defined() || expected.dtype() != DType::kU8 || !outcome.result.decision || !HasMask(outcome)) {
    return nullptr;
  }
  const Tensor mask = MasksFor(outcome).block_mask;
  return mask.shape() == expected.shape() && std::memcmp(mask.raw(), expected.raw(), mask.bytes()) == 0;
}

template <class T>
Tensor TensorOf(const std::vector<T>& values, DType dtype) {
  Tensor tensor = Tensor::Empty({static_cast<int64_t>(values.size())}, dtype);
  if (!values.empty()) std::memcpy(tensor.mutable_raw(), values.data(), values.size() * sizeof(T));
  return tensor;
}

NamedTensors Masks(const AttendOutcome& outcome) {
  if (!HasMask(outcome)) return {};
  const AttentionProblem& problem = outcome.call.problem;
  const PlanMasks masks = MasksFor(outcome);
  NamedTensors tensors = {{"q_block_of_token", masks.q_block_of_token},
                          {"kv_block_of_token", masks.kv_block_of_token},
                          {"block_mask", masks.block_mask}};
  const double pairs = static_cast<double>(problem.batch) * problem.heads * static_cast<double>(problem.q_len) *
                       static_cast<double>(problem.kv_len);
  if (pairs <= static_cast<double>(kMostTokenMaskBytes)) {
    tensors.emplace_back("token_mask", TokenMask(masks, problem, OperandsOf(outcome.call, nullptr)));
  }
  return tensors;
}

Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string Figure(const Json& value) {
  return value.is_number() ? fmt::format("{:.3g}", value.get<double>()) : std::string("none");
}

std::string ExpectedText(const Json& json) {
  std::string text;
  if (json["file_out"].is_object()) {
    text += fmt::format("  against the file's 'out': rel_l1 {}, max_abs {}\n", Figure(json["file_out"]["rel_l1"]),
                        Figure(json["file_out"]["max_abs"]));
  }
  if (json["file_block_mask_equal"].is_boolean()) {
    text += fmt::format("  the file's 'block_mask' {}\n",
                        json["file_block_mask_equal"].get<bool>() ? "is the same" : "DIFFERS");
  }
  return text;
}

}  // namespace

nlohmann::ordered_json ToJson(const AttendOutcome& outcome) {
  const AttendErrors& errors = outcome.errors;
  Json json;
  if (!outcome.call.run.empty()) json["run"] = outcome.call.run;
  json["backend"] = outcome.setup.backend.name;
  json["problem"] = Print(outcome.call.problem);
  json["rel_l1"] = Finite(errors.out.rel_l1());
  json["one_minus_cos"] = Finite(errors.out.one_minus_cos());
  json["max_abs"] = Finite(errors.out.max_abs());
  json["max_lse"] = Finite(errors.max_lse);
  json["density"] = outcome.result.density;
  json["median_ms"] = outcome.result.seconds * 1e3;
  json["same_mask"] = nullptr;
  if (errors.planned.count() > 0) {
    json["same_mask"] = {{"rel_l1", Finite(errors.planned.rel_l1())},
                         {"one_minus_cos", Finite(errors.planned.one_minus_cos())},
                         {"max_abs", Finite(errors.planned.max_abs())}};
  }
  json["rows_compared"] = errors.rows;
  json["file_out"] = AgainstExpected(outcome);
  json["file_block_mask_equal"] = MaskEquals(outcome);
  json["config"] = ToJson(ResolveOptions(outcome.setup.backend, outcome.call.options));
  json["isa"] = Name(outcome.setup.device.isa);
  json["threads"] = Threads();
  json["runs"] = outcome.setup.runs;
  json["notes"] = outcome.call.notes;
  json["findings"] = outcome.result.findings.empty() ? Json(nullptr) : Json::parse(outcome.result.findings);
  return json;
}

std::string ToText(const AttendOutcome& outcome) {
  const Json json = ToJson(outcome);
  const auto& call = outcome.call;
  std::string text = fmt::format("{}{}: {}\n", call.run.empty() ? "" : call.run + " ", outcome.setup.backend.name,
                                 Print(call.problem));
  for (const std::string& note : call.notes) text += fmt::format("  note: {}\n", note);
  const int64_t rows = call.problem.batch * call.problem.heads * call.problem.q_len;
  text += fmt::format("  against exact attention{}, {} of {} rows: rel_l1 {}, 1-cos {}, max_abs {}, max_lse {}\n",
                      call.problem.has_gate ? " (with the gate at zero)" : "", outcome.errors.rows, rows,
                      Figure(json["rel_l1"]), Figure(json["one_minus_cos"]), Figure(json["max_abs"]),
                      Figure(json["max_lse"]));
  if (outcome.result.decision && json["same_mask"].is_object()) {
    text += fmt::format("  against exact attention over the same keys: rel_l1 {}, 1-cos {}, max_abs {}\n",
                        Figure(json["same_mask"]["rel_l1"]), Figure(json["same_mask"]["one_minus_cos"]),
                        Figure(json["same_mask"]["max_abs"]));
  }
  text += ExpectedText(json);
  return text + fmt::format("  density {:.4f}, {:.3f} ms (median of {}, {}, {} threads)\n", outcome.result.density,
                            outcome.result.seconds * 1e3, outcome.setup.runs, Name(outcome.setup.device.isa),
                            Threads());
}

NamedTensors ResultTensors(const AttendOutcome& outcome) {
  const Tensor& out = outcome.result.out;
  NamedTensors tensors = {{"out", outcome.call.out_dtype == out.dtype() ? out : out.To(outcome.call.out_dtype)}};
  if (outcome.result.lse.defined()) tensors.emplace_back("lse", outcome.result.lse);
  for (auto& mask : Masks(outcome)) tensors.push_back(std::move(mask));
  return tensors;
}

NamedTensors PlanTensors(const AttendOutcome& outcome) {
  if (!outcome.result.decision) return Masks(outcome);
  const BlockPlan& plan = *outcome.result.decision;
  NamedTensors tensors;
  tensors.emplace_back("q_offsets", TensorOf(plan.q.offsets, DType::kI32));
  tensors.emplace_back("kv_offsets", TensorOf(plan.kv.offsets, DType::kI32));
  if (!plan.q.permutation.empty()) tensors.emplace_back("q_permutation", TensorOf(plan.q.permutation, DType::kI32));
  if (!plan.kv.permutation.empty()) tensors.emplace_back("kv_permutation", TensorOf(plan.kv.permutation, DType::kI32));
  tensors.emplace_back("row_begin", TensorOf(plan.row_begin, DType::kI64));
  tensors.emplace_back("kv_list", TensorOf(plan.kv_list, DType::kI32));
  if (!plan.query_masks.empty()) tensors.emplace_back("query_masks", TensorOf(plan.query_masks, DType::kI64));
  for (auto& mask : Masks(outcome)) tensors.push_back(std::move(mask));
  return tensors;
}

}  // namespace tessera
