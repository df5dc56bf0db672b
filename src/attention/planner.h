// The plug-in interface of sparse attention: which key blocks every query block visits, whatever kernel walks them.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "attention/backend.h"
#include "attention/block_plan.h"
#include "parallel/loop_body.h"

namespace tessera {

// Runs the kernel on operands whose `blocks` the planner has set; a planner may call it several times.
using AttentionKernelCall = LoopBody<const AttentionIO&>;

// Made once per (problem, device, options); keeps what it learns per layer and pass. One Run at a time.
class BlockPlanner {
 public:
  virtual ~BlockPlanner() = default;
  virtual size_t workspace_bytes() const noexcept { return 0; }
  // A new request: reserves all memory that Run needs and forgets what was learnt. Called once before the first Run,
  // with an empty outline where there is no denoising. Layers of later calls are below max(outline.layers, 1), passes
  // below max(outline.passes, 1). May throw Error.
  virtual void BeginRequest(const DenoisingOutline& /*outline*/) {}
  virtual void BeginStep(int /*step*/) noexcept {}
  // Decides, then attends; `workspace` is 64-byte aligned. Never allocates or logs. The same bytes for any number of
  // threads. `io.blocks` is null.
  virtual void Run(const AttentionIO& io, const AttentionKernelCall& attend,
                   std::span<std::byte> workspace) noexcept = 0;
  // The decision of the last Run; null: dense.
  virtual const BlockPlan* decision() const noexcept = 0;
  // Share of the query-key pairs that a call will visit at a place; -1: on average.
  virtual double ExpectedDensity(int step, int layer) const noexcept = 0;
  // JSON of what a search has learnt over the request; "" when there is nothing to say.
  virtual std::string Findings() const { return {}; }
  // As of AttentionPlan: what was learnt per layer and pass, by name.
  virtual TensorState State() const { return {}; }
  virtual void Restore(const TensorState& state);
};

// A planner's descriptor: a file in attention/planners/ and one line there. Its name alone means it with `fa`;
// "name+kernel" means it with any kernel that walks blocks.
struct AttentionPlanner {
  std::string_view name;     // what users type; also the file's name
  std::string_view aliases;  // space separated
  std::string_view summary;  // one line for `tessera backends`
  AttentionCaps caps;        // a composition can what both parts can; wants_grid, applies_gate: the planner's alone
  std::span<const OptionSpec> options;
  std::string_view option_prefix = {};  // may stand before any key
  std::string_view option_group = {};   // a nested object that may hold the keys
  // How many times faster than dense attention with its default options, planning included.
  double (*speedup)(const AttentionProblem&);
  // `options` are resolved, those of the kernel included.
  std::unique_ptr<BlockPlanner> (*plan)(const AttentionProblem&, const Device&, const Options& options);
};

}  // namespace tessera
