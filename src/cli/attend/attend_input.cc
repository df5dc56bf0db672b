#include "cli/attend/attend_input.h"

#include <algorithm>

#include <fmt/format.h>

#include "attention/registry.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/attend/attend_operands.h"
#include "cli/backend_options.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int kMostPlace = 1 << 20;
constexpr size_t kMostRuns = 4096;

// A number of a run's object; nothing when it is absent. Other than a whole number from 0 on is refused.
std::optional<int> Place(const Json& object, const char* key) {
  if (!object.contains(key) || object[key].is_null()) return std::nullopt;
  const Json& value = object[key];
  if (!value.is_number_integer() || value.get<int64_t>() < 0 || value.get<int64_t>() > kMostPlace) {
    throw Error(ErrorKind::kFormat, fmt::format("'{}' is {}, wanted a whole number from 0 to {}", key,
                                                Printable(value.dump(-1, ' ', true), 40), kMostPlace));
  }
  return static_cast<int>(value.get<int64_t>());
}

std::string Text(const Json& object, const char* key) {
  if (!object.contains(key) || object[key].is_null()) return "";
  if (!object[key].is_string()) throw Error(ErrorKind::kFormat, fmt::format("'{}' is no text", key));
  return object[key].get<std::string>();
}

// A planner's configuration serves it with any kernel.
bool IsFor(const std::string& name, const AttentionBackend& backend) {
  if (name.empty()) return true;
  const AttentionBackend* named = nullptr;
  try {
    named = &AttentionRegistry::BuiltIn().Find(name);
  } catch (const Error&) {
    return false;
  }
  return backend.planner != nullptr ? backend.planner == named->planner : &backend == named;
}

}  // namespace

AttendInput::AttendInput(const fs::path& path) : path_(path), file_(path) {
  const auto& metadata = file_.header().metadata;
  const auto text = [&](const char* key) { return metadata.contains(key) ? metadata.at(key) : std::string(); };
  if (metadata.contains("runs")) {
    try {
      ReadRuns(text("runs"));
    } catch (const Error& error) {
      Refuse(fmt::format("metadata 'runs': {}", error.what()));
    }
  }
  if (runs_.empty()) runs_.push_back({"", text("problem"), text("config"), std::nullopt, std::nullopt});
}

void AttendInput::ReadRuns(const std::string& text) {
  const Json list = ParseJson(text, "JSON");
  if (!list.is_array()) throw Error(ErrorKind::kFormat, "is no list");
  if (list.size() > kMostRuns) throw Error(ErrorKind::kFormat, fmt::format("has more than {} runs", kMostRuns));
  for (const Json& object : list) {
    if (!object.is_object()) throw Error(ErrorKind::kFormat, "holds something else than objects");
    Run run{Text(object, "run"), Text(object, "problem"), "", Place(object, "step"), Place(object, "layer")};
    if (run.name.empty() || run.name == "all") throw Error(ErrorKind::kFormat, "a run has no name ('run')");
    const auto same = [&](const Run& known) { return known.name == run.name; };
    if (std::any_of(runs_.begin(), runs_.end(), same)) {
      throw Error(ErrorKind::kFormat, fmt::format("run '{}' is there twice", Printable(run.name)));
    }
    if (object.contains("config") && !object["config"].is_null()) {
      run.config = object["config"].is_string() ? object["config"].get<std::string>() : object["config"].dump();
    }
    runs_.push_back(std::move(run));
  }
}

std::vector<AttendCall> AttendInput::Calls(const AttentionBackend& backend, const AttendWishes& wishes) const {
  std::vector<AttendCall> calls;
  for (const Run& run : Chosen(wishes.runs)) {
    try {
      calls.push_back(Read(run, backend, wishes));
    } catch (const Error& error) {
      const std::string place = run.name.empty() ? "" : fmt::format("run '{}': ", Printable(run.name));
      throw Error(error.kind(), fmt::format("{}: {}{}", Printable(path_.string(), 400), place, error.what()));
    }
  }
  return calls;
}

std::vector<AttendInput::Run> AttendInput::Chosen(const std::vector<std::string>& names) const {
  if (names.empty()) return {runs_.front()};
  if (names.size() == 1 && names[0] == "all") return runs_;
  std::vector<Run> chosen;
  for (const std::string& name : names) {
    const Run& run = FindRun(name);
    const auto same = [&](const Run& other) { return other.name == run.name; };
    if (std::any_of(chosen.begin(), chosen.end(), same)) {
      throw Error(ErrorKind::kUsage, fmt::format("--run {}: is named twice", Printable(name)));
    }
    chosen.push_back(run);
  }
  return chosen;
}

const AttendInput::Run& AttendInput::FindRun(const std::string& name) const {
  std::vector<std::string> known;
  for (const Run& run : runs_) {
    if (!run.name.empty() && run.name == name) return run;
    if (!run.name.empty()) known.push_back(run.name);
  }
  const std::string there = known.empty() ? "the file has no runs" : fmt::format("runs: {}", Join(known, ", "));
  throw Error(ErrorKind::kUsage, fmt::format("--run {}: not in '{}'; {}", Printable(name),
                                             Printable(path_.string(), 400), Printable(there, 300)));
}

std::string AttendInput::KeyOf(const Run& run, const std::string& name) const {
  if (!run.name.empty() && file_.Contains(run.name + "." + name)) return run.name + "." + name;
  return file_.Contains(name) ? name : "";
}

Tensor AttendInput::Optional(const Run& run, const std::string& name) const {
  const std::string key = KeyOf(run, name);
  return key.empty() ? Tensor() : file_.Get(key);
}

AttendCall AttendInput::Read(const Run& run, const AttentionBackend& backend, const AttendWishes& wishes) const {
  AttendCall call;
  call.run = run.name;
  call.problem = ProblemOf(run, wishes);
  call.options = wishes.options ? *wishes.options : OptionsOf(run, backend);
  const auto find = [&](const std::string& name) {
    const std::string key = KeyOf(run, name);
    return NamedTensor{key.empty() ? name : key, key.empty() ? Tensor() : file_.Get(key), !key.empty()};
  };
  ReadOperands(find, call);
  call.expected_out = Optional(run, "out");
  call.expected_mask = Optional(run, "block_mask");
  return call;
}

AttentionProblem AttendInput::ProblemOf(const Run& run, const AttendWishes& wishes) const {
  const std::string& line = wishes.problem.empty() ? run.problem : wishes.problem;
  if (Trim(line).empty()) {
    throw Error(ErrorKind::kUsage,
                fmt::format("no problem line, neither by --problem nor in the metadata; --problem \"{}\" would work",
                            SuggestedLine()));
  }
  AttentionProblem problem = ParseAttentionProblem(line);
  if (wishes.dtype) problem.dtype = *wishes.dtype;
  if (wishes.problem.empty() && run.step) problem.step = *run.step;
  if (wishes.problem.empty() && run.layer) problem.layer = *run.layer;
  if (wishes.step) problem.step = *wishes.step;
  if (wishes.layer) problem.layer = *wishes.layer;
  return problem;
}

// A line that fits q and k.
std::string AttendInput::SuggestedLine() const {
  const Tensor q = file_.Contains("q") ? file_.Get("q") : Tensor(), k = file_.Contains("k") ? file_.Get("k") : Tensor();
  if (q.rank() != 4 || k.rank() != 4) return "bf16 b1 h24/24 d128 q4608 kv4608 mask=none";
  return fmt::format("{} b{} h{}/{} d{} q{} kv{} mask=none", Name(q.dtype()), q.dim(0), q.dim(2), k.dim(2), q.dim(3),
                     q.dim(1), k.dim(1));
}

// File names in it are relative to the folder of the file.
Options AttendInput::OptionsOf(const Run& run, const AttentionBackend& backend) const {
  const auto& metadata = file_.header().metadata;
  const std::string owner = metadata.contains("backend") ? metadata.at("backend") : "";
  if (Trim(run.config).empty() || !IsFor(owner, backend)) return {};
  Options given, placed;
  try {
    given = ParseBackendOptions(run.config);
  } catch (const Error& error) {
    throw Error(ErrorKind::kFormat, fmt::format("metadata 'config': {}", error.what()));
  }
  for (const auto& [key, value] : given.values()) {
    const auto* text = std::get_if<std::string>(&value);
    const fs::path beside = text == nullptr ? fs::path() : path_.parent_path() / *text;
    std::error_code code;
    const bool is_file = text != nullptr && !text->empty() && fs::is_regular_file(beside, code);
    placed.Set(key, is_file ? OptionValue(beside.string()) : value);
  }
  return placed;
}

void AttendInput::Refuse(const std::string& what) const {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {}", Printable(path_.string(), 400), what));
}

}  // namespace tessera
