// The plug-in interface of attention: a constant data sheet, a speed estimate and a plan.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "attention/attention_io.h"
#include "attention/problem.h"
#include "platform/device.h"
#include "tensor/tensor_state.h"

namespace tessera {

enum class Fidelity { kExact, kQuantized, kSparse };  // ordered: a wider choice includes the ones before it
std::string_view Name(Fidelity fidelity) noexcept;

template <class Enum>
constexpr uint32_t Bit(Enum value) noexcept {
  return 1u << static_cast<uint32_t>(value);
}

// Head dims a backend takes: multiples of `step` from `smallest` to `largest`.
struct HeadDims {
  int smallest = 0, largest = 0, step = 1;
  constexpr bool Contains(int head_dim) const noexcept {
    return head_dim >= smallest && head_dim <= largest && head_dim % step == 0;
  }
};

// A data sheet. Every default says no.
struct AttentionCaps {
  uint32_t devices = 0;    // Bit(DeviceKind)
  Isa isa = Isa::kScalar;  // the least instruction set on a CPU
  uint32_t dtypes = 0;     // Bit(DType)
  HeadDims head_dims;
  MaskFeatures masks = kMaskNone;  // every combination of these
  bool grouped_kv = false;         // kv_heads < heads
  bool cross = false;              // q_len != kv_len
  bool lse = false;
  bool walks_blocks = false;  // takes AttentionIO::blocks, so planners can use it
  bool wants_grid = false;    // needs problem.grid
  bool applies_gate = false;  // honours the gate of problems that have one
  Fidelity fidelity = Fidelity::kExact;
  int quantized_bits = 8;  // of kQuantized: the least that a factor of a product is rounded to
};

struct AttentionBackend;
struct AttentionPlanner;
struct BlockPlan;

// One configuration key of a backend or planner.
using OptionValue = std::variant<bool, int64_t, double, std::string, std::vector<double>>;
struct OptionSpec {
  std::string_view key;
  std::string_view help;
  OptionValue (*default_value)();
  std::optional<double> least, most;          // for numbers
  std::string_view choices;                   // "a|b|c" for strings, empty: any
  std::string_view aliases = {};              // further spellings, space separated
  const OptionValue* made_default = nullptr;  // of a backend made at run time: in place of default_value
};
OptionValue DefaultOf(const OptionSpec& spec);

// What a plan may know about the request it serves, before its first step.
struct DenoisingOutline {
  int steps = 0;                       // 0: a single call outside of denoising
  int layers = 0;                      // attention layers of the component
  int passes = 1;                      // forward passes of a step: conditional, unconditional, ...
  std::vector<double> timesteps = {};  // of the scheduler, one per step; may be empty
  uint64_t seed = 0;
  // Video tokens that start a clustering of queries and keys, [heads, clusters]; empty: drawn from the seed.
  std::vector<int32_t> q_init_tokens = {}, k_init_tokens = {};
};

// Values by key, in the order of the keys: equal contents compare equal.
class Options {
 public:
  void Set(std::string key, OptionValue value);
  const OptionValue* Find(std::string_view key) const noexcept;
  std::span<const std::pair<std::string, OptionValue>> values() const noexcept { return values_; }
  bool operator==(const Options&) const = default;

 private:
  std::vector<std::pair<std::string, OptionValue>> values_;
};

// The options of a backend, of a composition those of both parts.
std::vector<const OptionSpec*> AllOptions(const AttentionBackend& backend);

// The option of `backend` that is spelled `key`, in any case: the key or an alias, with or without the prefix, and
// "NAME.key" with the name of the option group, of the backend or of one of its parts. Null: none.
const OptionSpec* FindOption(const AttentionBackend& backend, std::string_view key);

// `given` completed with defaults, under the keys of the specs. Throws Error{kUsage} for a key `backend` does not have,
// a key given twice by two spellings, a wrong type or a value out of range; whole numbers are accepted where fractions
// are wanted, fractions that are whole where whole numbers are; choices in any case.
Options ResolveOptions(const AttentionBackend& backend, const Options& given);

// Made once per (problem, device, options), reused over layers and steps. Thread-compatible: one Run at a time.
class AttentionPlan {
 public:
  virtual ~AttentionPlan() = default;
  virtual size_t workspace_bytes() const noexcept = 0;
  // A new request: forgets what was learnt from the last one. May allocate and throw Error.
  virtual void BeginRequest(const DenoisingOutline& /*outline*/) {}
  virtual void BeginStep(int /*step*/) noexcept {}
  // What most products are computed in: "f32", "bf16" or "int8", whose peak limits the speed.
  virtual std::string_view arithmetic() const noexcept { return "f32"; }
  // Share of the query-key pairs that a call visits: expected at a place (-1: on average), and of the last Run.
  virtual double ExpectedDensity(int /*step*/, int /*layer*/) const noexcept { return 1; }
  virtual double density() const noexcept { return 1; }
  // Of the last Run: time spent on deciding what to visit.
  virtual double planning_seconds() const noexcept { return 0; }
  // What the planner decided for the last Run; null: every key block.
  virtual const BlockPlan* decision() const noexcept { return nullptr; }
  // JSON of what a search has learnt over the request; "" when there is nothing to say.
  virtual std::string Findings() const { return {}; }
  // What later steps of the request need of the calls so far; views that the next Run changes.
  virtual TensorState State() const { return {}; }
  // After BeginRequest with the outline of the plan whose State() it was. Throws Error{kFormat}.
  virtual void Restore(const TensorState& state);
  // Why a Run of this plan could not be done, the first that failed; "" as long as all were done. The output of a
  // failed Run is undefined: callers look here before they use it.
  virtual std::string_view failure() const noexcept { return {}; }
  // Never allocates or logs. `workspace` is 64-byte aligned and at least workspace_bytes() long.
  virtual void Run(const AttentionIO& io, std::span<std::byte> workspace) noexcept = 0;
};

// What a backend that is put together at run time (a planner with a kernel, a vendor library) does instead of the
// functions of its descriptor.
class AttentionMaker {
 public:
  virtual ~AttentionMaker() = default;
  virtual std::string_view Check(const AttentionProblem& problem, const Device& device) const = 0;
  virtual double Speed(const AttentionProblem& problem, const Device& device) const = 0;
  virtual std::unique_ptr<AttentionPlan> Plan(const AttentionProblem& problem, const Device& device,
                                              const Options& options) const = 0;
};

// A backend's descriptor. It links in every build, also where `plan` is null ("not in this build").
struct AttentionBackend {
  std::string_view name;     // what users type; also the file's name
  std::string_view aliases;  // space separated
  std::string_view summary;  // one line for `tessera backends`
  AttentionCaps caps;
  std::span<const OptionSpec> options;
  std::string_view option_prefix = {};  // may stand before any key: "svg2_"
  std::string_view option_group = {};   // a nested object that may hold the keys: "moba_config"
  // Names other programs have for what this is the nearest to; they are refused with this backend's name.
  std::string_view stands_in_for = {};
  // Conditions that mix fields: a reason, or "" when fine. May be null.
  std::string_view (*check)(const AttentionProblem&, const Device&);
  // Expected operations per second relative to other backends on this device; larger is faster.
  double (*speed)(const AttentionProblem&, const Device&);
  std::unique_ptr<AttentionPlan> (*plan)(const AttentionProblem&, const Device&, const Options&);

  const AttentionMaker* maker = nullptr;  // set: used in place of check, speed and plan
  // The parts of a composition; null in a kernel.
  const AttentionPlanner* planner = nullptr;
  const AttentionBackend* kernel = nullptr;
};

// The `check` of kernels that look for the largest score before they scale it.
std::string_view CheckSoftmaxScale(const AttentionProblem& problem, const Device& device);

// The three functions of a backend, whoever implements them.
bool IsInThisBuild(const AttentionBackend& backend) noexcept;
std::string_view CheckProblem(const AttentionBackend& backend, const AttentionProblem& problem, const Device& device);
double SpeedOf(const AttentionBackend& backend, const AttentionProblem& problem, const Device& device);
// `options` as given by the user. Throws Error{kUsage} for wrong options, Error{kUnsupported} for what the options ask
// and the device cannot do.
std::unique_ptr<AttentionPlan> MakePlan(const AttentionBackend& backend, const AttentionProblem& problem,
                                        const Device& device, const Options& options);

}  // namespace tessera
