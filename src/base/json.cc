#include "base/json.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

using nlohmann::json;

// Builds the tree from the parser's events. The names of the members are nlohmann's.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view text, const std::string& file, int most_depth)
      : text_(text), file_(file), most_depth_(most_depth) {}

  json Take() { return std::move(root_); }

  bool null() { return Add(nullptr); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(int64_t value) { return Add(value); }
  bool number_unsigned(uint64_t value) { return Add(value); }
  bool number_float(double value, const std::string&) { return Add(value); }
  bool string(std::string& value) { return Add(std::move(value)); }
  bool binary(json::binary_t&) { return false; }
  bool start_object(size_t) { return Enter(json::object()); }
  bool start_array(size_t) { return Enter(json::array()); }
  bool end_object() { return Leave(); }
  bool end_array() { return Leave(); }

  bool key(std::string& name) {
    const auto [place, is_first] = open_.back()->get_ref<json::object_t&>().emplace(name, nullptr);
    if (!is_first) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: key '{}' is there twice in one object", file_, Printable(name)));
    }
    member_ = &place->second;
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& problem) {
    const std::string_view before = text_.substr(0, std::min(position, text_.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const size_t column = before.size() - (before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1);
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: not valid JSON at line {}, column {}: {}", file_, line, column, Reason(problem)));
  }

 private:
  // "[json.exception.parse_error.101] parse error at line 1, column 2: syntax error while ... - unexpected ...".
  static std::string Reason(const nlohmann::detail::exception& problem) {
    std::string_view what = problem.what();
    for (const std::string_view mark : {"] ", " - "}) {
      const size_t place = what.find(mark);
      if (place != std::string_view::npos) what.remove_prefix(place + mark.size());
    }
    const size_t quote = what.find("; last read: ");
    const size_t expected = what.find("; expected ");
    std::string reason = Printable(what.substr(0, quote), 80);
    if (quote != std::string_view::npos && expected == std::string_view::npos) {
      reason += " near " + Printable(what.substr(quote + 13), 40);
    }
    return reason;
  }

  json* Place(json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_object()) {
      *member_ = std::move(value);
      return member_;
    }
    auto& array = open_.back()->get_ref<json::array_t&>();
    array.push_back(std::move(value));
    return &array.back();
  }

  bool Add(json&& value) {
    Place(std::move(value));
    return true;
  }

  bool Enter(json&& value) {
    if (static_cast<int>(open_.size()) >= most_depth_) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: nested deeper than {} levels", file_, most_depth_));
    }
    open_.push_back(Place(std::move(value)));
    return true;
  }

  bool Leave() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& file_;
  int most_depth_;
  json root_;
  std::vector<json*> open_;  // containers from the root to the current one; only the last one grows
  json* member_ = nullptr;
};

}  // namespace

json ParseJson(std::string_view text, const std::string& file, int most_depth) {
  TreeBuilder builder(text, file, most_depth);
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.Take();
}

std::string DescribeJson(const json& value) {
  if (value.is_array()) return fmt::format("an array of {}", value.size());
  if (value.is_object()) return "an object";
  if (value.is_string()) return fmt::format("\"{}\"", Printable(value.get_ref<const std::string&>(), 40));
  return value.dump();
}

}  // namespace tessera
