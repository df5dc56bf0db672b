#include "attention/selector.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "attention/registry.h"
#include "attention/rules.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr std::string_view kSlower = "slower";
constexpr std::string_view kChangesPicture = "changes the picture";
constexpr std::string_view kNotAsked = "not asked for";

bool IsAuto(std::string_view name) {
  constexpr std::string_view kAuto = "auto";
  name = Trim(name);
  return std::equal(name.begin(), name.end(), kAuto.begin(), kAuto.end(),
                    [](char a, char b) { return a == b || a == b - 'a' + 'A'; });
}

// A backend with what the rules say about it.
struct Judged {
  const AttentionBackend* backend;
  std::vector<std::string_view> refusals;
  double speed;  // 0 when refused
};

// Every backend of the registry, and the compositions asked for.
std::vector<Judged> Judge(const AttentionProblem& problem, const Device& device, const AttentionRequest& request,
                          const AttentionRegistry& registry) {
  std::vector<const AttentionBackend*> backends(registry.backends().begin(), registry.backends().end());
  for (const std::string& name : request.names) {
    if (IsAuto(name)) continue;
    const AttentionBackend* wanted = &registry.Find(name);
    if (std::find(backends.begin(), backends.end(), wanted) == backends.end()) backends.push_back(wanted);
  }
  std::vector<Judged> all;
  for (const AttentionBackend* backend : backends) {
    auto refusals = Refusals(*backend, problem, device);
    const double speed = refusals.empty() ? SpeedOf(*backend, problem, device) : 0;
    all.push_back({backend, std::move(refusals), speed});
  }
  return all;
}

bool Before(const Judged& a, const Judged& b) {
  return a.speed != b.speed ? a.speed > b.speed : a.backend->name < b.backend->name;
}

// A checkpoint trained with a sparse method asks for backends that apply its gate, whatever fidelity they have.
bool ModelRequires(const AttentionProblem& problem, const AttentionBackend& backend) {
  return problem.has_gate && backend.caps.applies_gate;
}

const Judged* Fastest(const AttentionProblem& problem, const std::vector<Judged>& all, Fidelity allowed) {
  const Judged* best = nullptr;
  for (const Judged& candidate : all) {
    const bool faithful = candidate.backend->caps.fidelity <= allowed || ModelRequires(problem, *candidate.backend);
    const bool eligible = candidate.refusals.empty() && faithful;
    if (eligible && (best == nullptr || Before(candidate, *best))) best = &candidate;
  }
  return best;
}

std::string JoinReasons(std::span<const std::string_view> reasons) {
  return fmt::format("{}", fmt::join(reasons, ", "));
}

// "fa (exact), sage_attn (quantized)", fastest first; "none" when nothing can serve.
std::string Alternatives(std::vector<Judged> all) {
  std::erase_if(all, [](const Judged& judged) { return !judged.refusals.empty(); });
  std::sort(all.begin(), all.end(), Before);
  std::vector<std::string> names;
  for (const Judged& judged : all) {
    names.push_back(fmt::format("{} ({})", judged.backend->name, Name(judged.backend->caps.fidelity)));
  }
  return names.empty() ? "none" : Join(names, ", ");
}

std::string WhyAutoFails(const std::vector<Judged>& all, Fidelity allowed) {
  std::vector<std::string> parts;
  for (const Judged& judged : all) {
    parts.push_back(fmt::format("{}: {}", judged.backend->name,
                                judged.refusals.empty() ? std::string(kChangesPicture) : JoinReasons(judged.refusals)));
  }
  return fmt::format("auto ({}): {}", Name(allowed), parts.empty() ? "no backend is known" : Join(parts, "; "));
}

struct Choice {
  const Judged* chosen = nullptr;
  size_t place = 0;                   // of the name in the request
  std::vector<std::string> failures;  // why the names before it cannot serve
};

Choice Choose(const AttentionProblem& problem, const AttentionRequest& request, const std::vector<Judged>& all,
              const AttentionRegistry& registry) {
  Choice choice;
  for (; choice.place < request.names.size(); ++choice.place) {
    const std::string& name = request.names[choice.place];
    if (IsAuto(name)) {
      choice.chosen = Fastest(problem, all, request.fidelity);
      if (choice.chosen != nullptr) return choice;
      choice.failures.push_back(WhyAutoFails(all, request.fidelity));
      continue;
    }
    const AttentionBackend& wanted = registry.Find(name);
    const auto judged = std::find_if(all.begin(), all.end(), [&](const Judged& j) { return j.backend == &wanted; });
    if (judged->refusals.empty()) {
      choice.chosen = &*judged;
      return choice;
    }
    choice.failures.push_back(fmt::format("{}: {}", wanted.name, JoinReasons(judged->refusals)));
  }
  return choice;
}

bool TookAuto(const AttentionRequest& request, const Choice& choice) { return IsAuto(request.names[choice.place]); }

// "--attention-schedule, rule 2"
std::string AskedBy(const AttentionRequest& request) {
  if (request.rule == 0) return std::string(Name(request.source));
  return fmt::format("{}, rule {}", Name(request.source), request.rule);
}

std::string Why(const AttentionProblem& problem, const AttentionRequest& request, const Choice& choice) {
  const bool beyond = choice.chosen->backend->caps.fidelity > request.fidelity;
  std::string why = !TookAuto(request, choice) ? fmt::format("asked for by {}", AskedBy(request))
                    : beyond && problem.has_gate
                        ? fmt::format("asked for by {}, whose checkpoint has a gate", Name(ChoiceSource::kModel))
                        : fmt::format("fastest {}", Name(request.fidelity));
  if (!choice.failures.empty()) why += fmt::format(", as {}", Join(choice.failures, "; "));
  return why;
}

std::vector<Rejection> Rejected(const AttentionRequest& request, const Choice& choice, std::vector<Judged> all) {
  const AttentionBackend* chosen = choice.chosen->backend;
  const bool took_auto = TookAuto(request, choice);
  std::vector<Rejection> rejected;
  for (Judged& judged : all) {
    if (judged.backend == chosen) continue;
    if (judged.refusals.empty()) {
      const bool changes = judged.backend->caps.fidelity > request.fidelity;
      judged.refusals.push_back(!took_auto ? kNotAsked : changes ? kChangesPicture : kSlower);
    }
    rejected.push_back({judged.backend, std::move(judged.refusals)});
  }
  return rejected;
}

}  // namespace

std::string_view Name(ChoiceSource source) noexcept {
  constexpr std::array<std::string_view, 6> kNames = {
      "forced choice", "component override", "--attention-schedule", "--attention-backend", "the model", "auto"};
  return kNames[static_cast<size_t>(source)];
}

Selection Select(const AttentionProblem& problem, const Device& device, const AttentionRequest& request,
                 const AttentionRegistry& registry, std::string_view site) {
  if (const std::string_view defect = Defect(problem); !defect.empty()) {
    throw Error(ErrorKind::kUsage,
                fmt::format("attention of {}: '{}' is no problem to solve: {}", site, Print(problem), defect));
  }
  std::vector<Judged> all = Judge(problem, device, request, registry);
  const Choice choice = Choose(problem, request, all, registry);
  if (choice.chosen == nullptr) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("attention '{}' ({}) cannot serve {}, which needs '{}' on {}: {}; would work: {}",
                            Printable(Join(request.names, ",")), AskedBy(request), site, Print(problem),
                            Name(device.kind), Join(choice.failures, "; "), Alternatives(all)));
  }
  Selection selection{choice.chosen->backend, Why(problem, request, choice), {}};
  selection.rejected = Rejected(request, choice, all);
  return selection;
}

}  // namespace tessera
