#include "cli/flag_config.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <fmt/format.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "base/error.h"
#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kMostBytes = size_t{1} << 20;

[[noreturn]] void Refuse(std::string_view file, std::string_view reason) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {}", Printable(file), Printable(reason, 300)));
}

// Turns the events of either parser into entries; whatever does not fit is refused at once, so hostile files stay
// cheap.
class EntryBuilder {
 public:
  explicit EntryBuilder(std::string_view file) : file_(file) {}

  void OpenObject() {
    if (place_ == Place::kEntry && !key_) Refuse(file_, "a name in front of every value is needed");
    if (place_ != Place::kStart && place_ != Place::kEntry) Refuse(file_, Nested());
    if (place_ == Place::kEntry) outer_ = *std::exchange(key_, std::nullopt) + '.';
    place_ = place_ == Place::kStart ? Place::kEntry : Place::kMember;
  }
  void CloseObject() {
    place_ = place_ == Place::kMember ? Place::kEntry : Place::kEnd;
    outer_.clear();
  }
  void OpenList() {
    if (place_ != Place::kEntry || !key_) Refuse(file_, Nested());
    entries_.push_back({TakeName(), {}, true});
    place_ = Place::kList;
  }
  void CloseList() { place_ = Place::kEntry; }

  bool WantsKey() const noexcept { return (place_ == Place::kEntry || place_ == Place::kMember) && !key_; }
  void Key(const std::string& key) {
    if (!IsUtf8(key) || key.empty()) Refuse(file_, fmt::format("'{}' is no name", Printable(key)));
    key_ = key;
  }
  void Value(const std::string& text, ScalarKind kind) {
    if (place_ == Place::kStart) Refuse(file_, "an object of flag names and values is needed");
    if (place_ == Place::kList) {
      entries_.back().values.push_back({text, kind});
    } else {
      entries_.push_back({TakeName(), {{text, kind}}, false});
    }
  }
  void Null() {
    if (place_ == Place::kList) Refuse(file_, fmt::format("{}: a list with an empty value", entries_.back().name));
    if (key_) TakeName();
  }
  std::vector<ConfigEntry> Take() {
    if (place_ != Place::kStart && place_ != Place::kEnd) Refuse(file_, "ends too early");
    return std::move(entries_);
  }

 private:
  enum class Place { kStart, kEntry, kMember, kList, kEnd };

  std::string Nested() const {
    return fmt::format("{}{}: nested too deeply, a value, a list or an object of values is needed", outer_,
                       key_.value_or("list"));
  }
  std::string TakeName() {
    std::string name = outer_ + *std::exchange(key_, std::nullopt);
    if (!seen_.insert(name).second) Refuse(file_, fmt::format("{} is given twice", name));
    return name;
  }

  std::string_view file_;
  Place place_ = Place::kStart;
  std::string outer_;
  std::optional<std::string> key_;
  std::set<std::string> seen_;
  std::vector<ConfigEntry> entries_;
};

class JsonEvents : public nlohmann::json_sax<nlohmann::json> {
 public:
  JsonEvents(EntryBuilder& builder, std::string_view file) : builder_(builder), file_(file) {}
  bool null() override { return builder_.Null(), true; }
  bool boolean(bool value) override { return builder_.Value(value ? "true" : "false", ScalarKind::kBool), true; }
  bool number_integer(number_integer_t value) override { return Number(std::to_string(value)); }
  bool number_unsigned(number_unsigned_t value) override { return Number(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return Number(text); }
  bool string(string_t& value) override { return builder_.Value(value, ScalarKind::kText), true; }
  bool binary(binary_t&) override { return false; }
  bool start_object(size_t) override { return builder_.OpenObject(), true; }
  bool key(string_t& value) override { return builder_.Key(value), true; }
  bool end_object() override { return builder_.CloseObject(), true; }
  bool start_array(size_t) override { return builder_.OpenList(), true; }
  bool end_array() override { return builder_.CloseList(), true; }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    const std::string_view what = error.what();
    const size_t start = what.find("parse error");
    Refuse(file_, "not valid JSON: " + std::string(start == std::string_view::npos ? what : what.substr(start)));
  }

 private:
  bool Number(const std::string& text) { return builder_.Value(text, ScalarKind::kNumber), true; }

  EntryBuilder& builder_;
  std::string_view file_;
};

class YamlEvents : public YAML::EventHandler {
 public:
  YamlEvents(EntryBuilder& builder, std::string_view file) : builder_(builder), file_(file) {}
  void OnDocumentStart(const YAML::Mark& mark) override {
    if (++documents_ > 1) RefuseAt(mark, "a second document starts, one is read");
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    RefuseAnchor(mark, anchor);
    if (builder_.WantsKey()) RefuseAt(mark, "a value without a name");
    builder_.Null();
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { RefuseAnchor(mark, 1); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    RefuseAnchor(mark, anchor);
    if (builder_.WantsKey()) return builder_.Key(value);
    // yaml-cpp tags quoted words "!" and plain ones "?".
    builder_.Value(value, tag == "!" ? ScalarKind::kText : ScalarKind::kUntyped);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    RefuseAnchor(mark, anchor);
    builder_.OpenList();
  }
  void OnSequenceEnd() override { builder_.CloseList(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    RefuseAnchor(mark, anchor);
    builder_.OpenObject();
  }
  void OnMapEnd() override { builder_.CloseObject(); }

 private:
  [[noreturn]] void RefuseAt(const YAML::Mark& mark, std::string_view reason) const {
    Refuse(file_, fmt::format("line {}: {}", mark.line + 1, reason));
  }
  void RefuseAnchor(const YAML::Mark& mark, YAML::anchor_t anchor) const {
    if (anchor != 0) RefuseAt(mark, "anchors and aliases are not accepted, write the value out");
  }

  EntryBuilder& builder_;
  std::string_view file_;
  int documents_ = 0;
};

void ParseYaml(std::string_view bytes, EntryBuilder& builder, std::string_view file) {
  std::istringstream stream{std::string(bytes)};
  YamlEvents events(builder, file);
  try {
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(events)) continue;
  } catch (const YAML::Exception& error) {
    Refuse(file, fmt::format("line {}: not valid YAML: {}", error.mark.line + 1, error.msg));
  }
}

}  // namespace

std::vector<ConfigEntry> ParseFlagConfig(std::string_view bytes, ConfigSyntax syntax, std::string_view file) {
  // Both parsers replace or pass on what is not UTF-8; yaml-cpp would also guess UTF-16.
  if (!IsUtf8(bytes)) Refuse(file, "not valid UTF-8");
  EntryBuilder builder(file);
  if (syntax == ConfigSyntax::kYaml) {
    ParseYaml(bytes, builder, file);
  } else {
    JsonEvents events(builder, file);
    nlohmann::json::sax_parse(bytes, &events);
  }
  return builder.Take();
}

std::vector<ConfigEntry> ReadFlagConfig(const std::string& path) {
  const std::string extension = Lower(std::filesystem::path(path).extension().string());
  const bool yaml = extension == ".yaml" || extension == ".yml";
  if (!yaml && extension != ".json") {
    throw Error(ErrorKind::kUsage, fmt::format("--config: '{}' does not end in .json, .yaml or .yml", Printable(path)));
  }
  return ParseFlagConfig(ReadWholeFile(path, kMostBytes), yaml ? ConfigSyntax::kYaml : ConfigSyntax::kJson, path);
}

}  // namespace tessera
