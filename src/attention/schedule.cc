#include "attention/schedule.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "attention/registry.h"
#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

// Components that denoise; a model with two experts has both, and the second follows the first.
constexpr std::string_view kDenoisers[] = {"transformer", "transformer_2"};
constexpr double kMostPlaces = 1e6;

bool IsFollower(const ScheduleRule& rule, const AttentionSite& site) {
  return rule.component == kDenoisers[0] && site.component == kDenoisers[1];
}

bool Includes(const std::vector<PlaceRange>& ranges, int place, int count) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const PlaceRange& r) { return r.Contains(place, count); });
}

bool MatchesAllButComponent(const ScheduleRule& rule, const AttentionSite& site, int step,
                            const ScheduleExtent& extent) {
  return (!rule.role || *rule.role == site.role) &&
         (rule.layers.empty() || Includes(rule.layers, site.layer, extent.layers)) &&
         (rule.steps.empty() || (step >= 0 && Includes(rule.steps, step, extent.steps)));
}

[[noreturn]] void RejectPlaces(std::string_view what, std::string_view text, std::string_view why) {
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: '{}' {}; 3, 0-3, -1, 5- and shares such as 0.0-0.3 work, separated by commas", what,
                          Printable(text, 60), why));
}

double ParsePlace(std::string_view number, std::string_view what, std::string_view text) {
  const auto value = ParseFloat(number);
  if (!value || std::abs(*value) > kMostPlaces) RejectPlaces(what, text, "is no place");
  return *value;
}

// The dash between two places: the first one that is no sign.
size_t DashOf(std::string_view text) { return text.find('-', 1); }

PlaceRange ParseRange(std::string_view text, std::string_view what) {
  if (text.empty()) RejectPlaces(what, text, "is empty");
  const size_t dash = DashOf(text);
  const std::string_view first = Trim(text.substr(0, dash));
  const std::string_view last = dash == std::string_view::npos ? first : Trim(text.substr(dash + 1));
  PlaceRange range;
  if (text.find('.') != std::string_view::npos) range.unit = PlaceRange::Unit::kShare;
  const bool share = range.unit == PlaceRange::Unit::kShare;
  range.first = ParsePlace(first, what, text);
  range.last = last.empty() ? (share ? 1 : -1) : ParsePlace(last, what, text);
  if (share) {
    if (dash == std::string_view::npos) RejectPlaces(what, text, "is one share, a range is needed");
    if (range.first < 0 || range.last > 1 || !(range.first < range.last)) {
      RejectPlaces(what, text, "is no range of shares from 0.0 to 1.0");
    }
    return range;
  }
  if (range.first != std::floor(range.first) || range.last != std::floor(range.last)) {
    RejectPlaces(what, text, "is no place");
  }
  const bool same_end = (range.first < 0) == (range.last < 0);
  if (same_end && range.first > range.last) RejectPlaces(what, text, "runs backwards");
  return range;
}

}  // namespace

bool IsDenoiser(std::string_view component) noexcept {
  return std::find(std::begin(kDenoisers), std::end(kDenoisers), component) != std::end(kDenoisers);
}

bool PlaceRange::Contains(int place, int count) const noexcept {
  constexpr double kRounding = 1e-9;  // shares times counts
  if (unit == Unit::kShare) {
    return count > 0 && place >= first * count - kRounding && place < last * count - kRounding;
  }
  if ((first < 0 || last < 0) && count <= 0) return false;
  return place >= (first < 0 ? first + count : first) && place <= (last < 0 ? last + count : last);
}

std::vector<PlaceRange> ParsePlaceRanges(std::string_view text, std::string_view what) {
  std::vector<PlaceRange> ranges;
  for (const std::string& part : Split(text, ',')) ranges.push_back(ParseRange(Trim(part), what));
  return ranges;
}

std::vector<std::string> ParseBackendNames(const std::string& names, const AttentionRegistry& registry) {
  std::vector<std::string> parsed;
  for (const std::string& part : Split(names, ',')) {
    const std::string name = Lower(Trim(part));
    if (name.empty()) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("attention backends '{}': a name is empty, wanted names separated by commas "
                              "such as 'fa,auto'",
                              Printable(names)));
    }
    parsed.emplace_back(name == "auto" ? name : std::string(registry.Find(name).name));
  }
  return parsed;
}

std::string AttentionSite::ToString() const { return fmt::format("{}.{}.{}", component, Name(role), layer); }

AttentionSchedule AttentionSchedule::FromBackendNames(const std::string& names, ChoiceSource source,
                                                      Fidelity auto_fidelity, const Options& options,
                                                      const AttentionRegistry& registry) {
  AttentionSchedule schedule;
  ScheduleRule rule;
  rule.request = {ParseBackendNames(names, registry), source, auto_fidelity, options};
  schedule.AddAsked(rule);
  return schedule;
}

void AttentionSchedule::Add(ScheduleRule rule) {
  const auto at = std::upper_bound(
      rules_.begin(), rules_.end(), rule,
      [](const ScheduleRule& a, const ScheduleRule& b) { return a.request.source < b.request.source; });
  rules_.insert(at, std::move(rule));
}

void AttentionSchedule::Append(const AttentionSchedule& other) {
  for (const ScheduleRule& rule : other.rules_) Add(rule);
  asked_.insert(asked_.end(), other.asked_.begin(), other.asked_.end());
}

void AttentionSchedule::AddAsked(const ScheduleRule& asked) {
  const bool names_places = asked.component || asked.role || !asked.layers.empty();
  if (names_places) asked_.push_back(asked);
  if (asked.component) return AddToComponent(asked);
  for (const std::string_view denoiser : kDenoisers) {
    ScheduleRule rule = asked;
    rule.component = denoiser;
    AddToComponent(rule);
  }
}

void AttentionSchedule::AddToComponent(const ScheduleRule& asked) {
  if (asked.role || !IsDenoiser(*asked.component)) return Add(asked);
  for (const AttentionRole role : {AttentionRole::kSelf, AttentionRole::kJoint}) {
    ScheduleRule bound = asked;
    bound.role = role;
    Add(bound);
  }
  ScheduleRule preferred = asked;
  auto& names = preferred.request.names;
  if (std::find(names.begin(), names.end(), "auto") == names.end()) {
    names.emplace_back("auto");
    preferred.request.fidelity = Fidelity::kExact;
  }
  Add(preferred);
}

bool AttentionSchedule::IsNamedItself(const ScheduleRule& rule, const AttentionSite& site, int step,
                                      const ScheduleExtent& extent) const {
  return std::any_of(rules_.begin(), rules_.end(), [&](const ScheduleRule& other) {
    return other.request.source == rule.request.source && other.component == site.component &&
           MatchesAllButComponent(other, site, step, extent);
  });
}

bool AttentionSchedule::Matches(const ScheduleRule& rule, const AttentionSite& site, int step,
                                const ScheduleExtent& extent) const {
  if (!MatchesAllButComponent(rule, site, step, extent)) return false;
  if (!rule.component || *rule.component == site.component) return true;
  return IsFollower(rule, site) && !IsNamedItself(rule, site, step, extent);
}

const ScheduleRule* AttentionSchedule::RuleFor(const AttentionSite& site, int step,
                                               const ScheduleExtent& extent) const {
  for (const ScheduleRule& rule : rules_) {
    if (Matches(rule, site, step, extent)) return &rule;
  }
  return nullptr;
}

AttentionRequest AttentionSchedule::RequestFor(const AttentionSite& site, int step,
                                               const ScheduleExtent& extent) const {
  const ScheduleRule* rule = RuleFor(site, step, extent);
  return rule == nullptr ? AttentionRequest{} : rule->request;
}

namespace {

std::string AskedBy(const AttentionRequest& request) {
  return request.rule == 0 ? std::string(Name(request.source))
                           : fmt::format("{}, rule {}", Name(request.source), request.rule);
}

[[noreturn]] void RejectPlace(const ScheduleRule& rule, std::string_view asked, const std::set<std::string>& known,
                              std::string_view kind) {
  const std::vector<std::string> names(known.begin(), known.end());
  const auto nearest = Nearest(asked, names);
  throw Error(ErrorKind::kUsage,
              fmt::format("{}: the model has no {} '{}'; known: {}{}", AskedBy(rule.request), kind, Printable(asked),
                          Join(names, ", "), nearest ? fmt::format("; did you mean '{}'", *nearest) : ""));
}

// The first layer that a rule names and no component has; nothing: all are there.
std::optional<int> LayerBeyond(const ScheduleRule& rule, int layers) {
  for (const PlaceRange& range : rule.layers) {
    if (range.unit == PlaceRange::Unit::kShare) continue;
    for (const double place : {range.first, range.last}) {
      if (place >= layers || place < -layers) return static_cast<int>(place);
    }
  }
  return std::nullopt;
}

// The sites a rule may mean.
std::vector<AttentionSite> SitesOf(const ScheduleRule& rule, const std::vector<AttentionSite>& sites) {
  std::vector<AttentionSite> meant;
  std::copy_if(sites.begin(), sites.end(), std::back_inserter(meant), [&](const AttentionSite& site) {
    return rule.component ? site.component == *rule.component : IsDenoiser(site.component);
  });
  return meant;
}

void CheckRule(const ScheduleRule& rule, const std::vector<AttentionSite>& sites) {
  std::set<std::string> components, roles;
  for (const AttentionSite& site : sites) components.insert(site.component);
  if (rule.component && !components.contains(*rule.component)) {
    RejectPlace(rule, *rule.component, components, "component");
  }
  int layers = 0;
  bool has_role = false;
  for (const AttentionSite& site : SitesOf(rule, sites)) {
    roles.insert(fmt::format("{}.{}", site.component, Name(site.role)));
    has_role |= site.role == rule.role;
    layers = std::max(layers, site.layer + 1);
  }
  const std::string component = rule.component.value_or(std::string(kDenoisers[0]));
  if (rule.role && !has_role) RejectPlace(rule, fmt::format("{}.{}", component, Name(*rule.role)), roles, "role");
  if (const auto beyond = LayerBeyond(rule, layers)) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: no layer {} of {}, which has layers 0-{}", AskedBy(rule.request),
                                               *beyond, component, layers - 1));
  }
  if (!rule.steps.empty() && !IsDenoiser(component)) {
    throw Error(ErrorKind::kUsage, fmt::format("{}: steps are named for {}, which runs outside of denoising",
                                               AskedBy(rule.request), component));
  }
}

}  // namespace

void AttentionSchedule::CheckAgainst(const std::vector<AttentionSite>& sites) const {
  for (const ScheduleRule& rule : asked_) CheckRule(rule, sites);
}

}  // namespace tessera
