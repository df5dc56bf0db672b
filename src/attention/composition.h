// A planner with a kernel: one backend whose data sheet is what both can.
#pragma once
#include <string>

#include "attention/planner.h"

namespace tessera {

// What a planner and a kernel can together.
AttentionCaps ComposedCaps(const AttentionCaps& planner, const AttentionCaps& kernel) noexcept;

// Owns the names and the maker of a composed backend. Not movable: the descriptor points into it.
class AttentionComposition final : public AttentionMaker {
 public:
  // `name` is what users type: the planner's name alone, or "planner+kernel".
  AttentionComposition(const AttentionPlanner& planner, const AttentionBackend& kernel, std::string name);
  AttentionComposition(const AttentionComposition&) = delete;
  AttentionComposition& operator=(const AttentionComposition&) = delete;

  const AttentionBackend& backend() const noexcept { return backend_; }

  std::string_view Check(const AttentionProblem& problem, const Device& device) const override;
  double Speed(const AttentionProblem& problem, const Device& device) const override;
  std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device,
                                      const Options& options) const override;

 private:
  const AttentionPlanner& planner_;
  const AttentionBackend& kernel_;
  const std::string name_, summary_;
  AttentionBackend backend_;
};

}  // namespace tessera
