// AttentionContext between the runs of a program: to tensors and back.
#include <algorithm>

#include <fmt/format.h>

#include "attention/layer_parts.h"
#include "base/error.h"

namespace tessera {
namespace {

constexpr int64_t kNumbers = 8, kSums = 3;   // of a use
constexpr int64_t kMost = int64_t{1} << 40;  // that a run may have counted

Tensor Numbers(const std::vector<int64_t>& values) {
  Tensor tensor = Tensor::Empty({static_cast<int64_t>(values.size())}, DType::kI64);
  std::copy(values.begin(), values.end(), tensor.mutable_data<int64_t>());
  return tensor;
}

Tensor Sums(const std::vector<double>& values) {
  Tensor tensor = Tensor::Empty({static_cast<int64_t>(values.size())}, DType::kF64);
  std::copy(values.begin(), values.end(), tensor.mutable_data<double>());
  return tensor;
}

// The values of a tensor one after the other, checked.
template <class Value>
class Reader {
 public:
  Reader(const TensorState& state, std::string_view name, int64_t count, DType dtype)
      : tensor_(state.Get(name, {count}, dtype)), name_(name) {}
  Value Next(Value least) {
    const Value value = tensor_.template data<Value>()[at_++];
    const bool possible = value >= least && value <= static_cast<Value>(kMost);
    if (!possible) throw Error(ErrorKind::kFormat, fmt::format("'{}' holds {}, which no run counts", name_, value));
    return value;
  }

 private:
  const Tensor& tensor_;
  std::string_view name_;
  int64_t at_ = 0;
};

}  // namespace

TensorState AttentionContext::Counts() const {
  std::vector<int64_t> numbers, calls_at, demoted;
  std::vector<double> sums;
  for (const auto& entry : entries_) {
    demoted.push_back(entry->demoted ? 1 : 0);
    for (const auto& use : entry->uses) {
      const CheckRecord& check = use->check;
      for (const int64_t number : {use->calls, check.calls, check.rows, check.failures, check.not_finite,
                                   int64_t{check.first_failed_step} + 1, int64_t{check.demoted}, int64_t{use->told}}) {
        numbers.push_back(number);
      }
      for (const double sum : {use->seconds, use->density, std::min(check.worst, static_cast<double>(kMost))})
        sums.push_back(sum);
      calls_at.insert(calls_at.end(), use->calls_at.begin(), use->calls_at.end());
    }
  }
  TensorState state;
  state.Add("numbers", Numbers(numbers));
  state.Add("sums", Sums(sums));
  state.Add("calls_at", Numbers(calls_at));
  state.Add("demoted", Numbers(demoted));
  state.AddNumber("checked_calls", checked_calls_);
  return state;
}

void AttentionContext::RestoreCounts(const TensorState& state) {
  int64_t uses = 0, steps = 0;
  for (const auto& entry : entries_) {
    uses += static_cast<int64_t>(entry->uses.size());
    for (const auto& use : entry->uses) steps += static_cast<int64_t>(use->calls_at.size());
  }
  Reader<int64_t> numbers(state, "numbers", uses * kNumbers, DType::kI64),
      calls_at(state, "calls_at", steps, DType::kI64);
  Reader<int64_t> demoted(state, "demoted", static_cast<int64_t>(entries_.size()), DType::kI64);
  Reader<double> sums(state, "sums", uses * kSums, DType::kF64);
  for (const auto& entry : entries_) {
    entry->demoted = demoted.Next(0) != 0 && entry->exact != nullptr;
    for (const auto& use : entry->uses) {
      CheckRecord& check = use->check;
      for (int64_t* number : {&use->calls, &check.calls, &check.rows, &check.failures, &check.not_finite}) {
        *number = numbers.Next(0);
      }
      check.first_failed_step = static_cast<int>(numbers.Next(0)) - 1;
      check.demoted = numbers.Next(0) != 0;
      use->told = numbers.Next(0) != 0;
      for (double* sum : {&use->seconds, &use->density, &check.worst}) *sum = sums.Next(0);
      for (int64_t& calls : use->calls_at) calls = calls_at.Next(0);
    }
  }
  checked_calls_ = state.Number("checked_calls", 0, kMost);
}

TensorState AttentionContext::Learnt() const {
  TensorState state;
  for (size_t i = 0; i < plans_.size(); ++i) state.AddPart(std::to_string(i), plans_[i]->plan->State());
  return state;
}

void AttentionContext::RestoreLearnt(const TensorState& state) {
  size_t taken = 0;
  for (size_t i = 0; i < plans_.size(); ++i) {
    const TensorState of_plan = state.Part(std::to_string(i));
    plans_[i]->plan->Restore(of_plan);
    taken += of_plan.size();
  }
  if (taken != state.size()) {
    throw Error(ErrorKind::kFormat, fmt::format("has attention state of more than this job's {} plans", plans_.size()));
  }
}

}  // namespace tessera
