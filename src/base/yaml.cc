#include "base/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <filesystem>
#include <optional>
#include <sstream>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr size_t kMostBytes = size_t{1} << 20;

[[noreturn]] void Refuse(const std::string& file, std::string_view reason) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {}", Printable(file), Printable(reason, 300)));
}

class TreeEvents final : public YAML::EventHandler {
 public:
  TreeEvents(const std::string& file, int most_depth) : file_(file), most_depth_(most_depth) {}

  json Take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) RefuseAt(mark, "a second document starts, one is read");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { Scalar(mark, anchor, nullptr, "null"); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { RefuseAnchor(mark, 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // yaml-cpp tags quoted words "!" and plain ones "?".
    Scalar(mark, anchor, tag == "!" ? json(value) : TypedScalar(value), value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Enter(mark, anchor, json::array());
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Enter(mark, anchor, json::object());
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Open {
    json* container;
    std::optional<std::string> key;  // of the member whose value comes next
  };

  bool WantsKey() const { return !open_.empty() && open_.back().container->is_object() && !open_.back().key; }

  void Scalar(const YAML::Mark& mark, YAML::anchor_t anchor, json value, const std::string& text) {
    RefuseAnchor(mark, anchor);
    if (WantsKey()) {
      if (open_.back().container->contains(text)) {
        RefuseAt(mark, fmt::format("key '{}' is there twice in one object", text));
      }
      open_.back().key = text;
      return;
    }
    Place(std::move(value));
  }

  void Enter(const YAML::Mark& mark, YAML::anchor_t anchor, json value) {
    RefuseAnchor(mark, anchor);
    if (WantsKey()) RefuseAt(mark, "a key is a list or an object, a word is needed");
    if (static_cast<int>(open_.size()) >= most_depth_) {
      RefuseAt(mark, fmt::format("nested deeper than {} levels", most_depth_));
    }
    json* placed = Place(std::move(value));
    open_.push_back({placed, std::nullopt});
  }

  json* Place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Open& open = open_.back();
    if (open.container->is_array()) {
      open.container->push_back(std::move(value));
      return &open.container->back();
    }
    json& member = (*open.container)[*std::exchange(open.key, std::nullopt)];
    member = std::move(value);
    return &member;
  }

  [[noreturn]] void RefuseAt(const YAML::Mark& mark, std::string_view reason) const {
    Refuse(file_, fmt::format("line {}: {}", mark.line + 1, reason));
  }
  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) RefuseAt(mark, "anchors and aliases are not accepted, write the value out");
  }

  const std::string& file_;
  const int most_depth_;
  json root_;
  std::vector<Open> open_;  // containers from the root to the current one; only the last one grows
  int documents_ = 0;
};

}  // namespace

nlohmann::json TypedScalar(std::string_view word) {
  if (const auto whole = ParseInt(word)) return *whole;
  if (const auto number = ParseFloat(word)) return *number;
  const std::string lower = Lower(word);
  if (lower == "true" || lower == "false") return lower == "true";
  if (lower == "null" || lower == "~" || lower.empty()) return nullptr;
  return std::string(word);
}

nlohmann::json ParseYaml(std::string_view bytes, const std::string& file, int most_depth) {
  // yaml-cpp passes on what is not UTF-8, and guesses UTF-16.
  if (!IsUtf8(bytes)) Refuse(file, "not valid UTF-8");
  std::istringstream stream{std::string(bytes)};
  TreeEvents events(file, most_depth);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) continue;
  } catch (const YAML::Exception& error) {
    Refuse(file, fmt::format("line {}: not valid YAML: {}", error.mark.line + 1, error.msg));
  }
  return events.Take();
}

nlohmann::json ReadJsonOrYaml(const std::string& path) {
  const std::string extension = Lower(std::filesystem::path(path).extension().string());
  const bool yaml = extension == ".yaml" || extension == ".yml";
  if (!yaml && extension != ".json") {
    throw Error(ErrorKind::kUsage, fmt::format("'{}' does not end in .json, .yaml or .yml", Printable(path)));
  }
  const std::string bytes = ReadWholeFile(path, kMostBytes);
  return yaml ? ParseYaml(bytes, path) : ParseJson(bytes, Printable(path), kMostYamlDepth);
}

}  // namespace tessera
