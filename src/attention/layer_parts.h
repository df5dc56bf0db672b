// What AttentionContext keeps of its sites: shared by its files only.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "attention/layer.h"

namespace tessera {

struct AttentionContext::Planned {
  std::string component;  // whose steps it learns from; empty: it learns nothing
  AttentionProblem problem;
  const AttentionBackend* backend;
  Options options;
  std::unique_ptr<AttentionPlan> plan;
};

struct AttentionContext::Use {
  Planned* planned;
  std::string why;
  std::string place;  // of a trace: "transformer.joint"
  int layer = 0;
  std::vector<int64_t> calls_at;  // by step, for sites that have steps
  int64_t calls = 0;
  double seconds = 0;
  double density = 0;  // sum over the calls
  CheckRecord check = {};
  bool told = false;  // that a check failed
};

struct AttentionContext::Entry {
  AttentionSite site;
  AttentionProblem problem;
  std::vector<std::unique_ptr<Use>> uses = {};
  std::vector<std::vector<Use*>> tables = {};  // by schedule, then by step; one element where steps do not matter
  Use* now = nullptr;
  Use* exact = nullptr;  // what a failed check demotes to; null: nothing better is there
  bool demoted = false;
};

}  // namespace tessera
