#include "text/post_processor.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "text/tokenizer_part.h"

namespace tessera {
namespace {

constexpr const char* kKnown = "BertProcessing, ByteLevel, RobertaProcessing, Sequence and TemplateProcessing";

[[noreturn]] void Refuse(const Config& part, const std::string& reason) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {}", part.file(), reason));
}

int32_t CheckedId(const Config& part, int64_t id, int32_t id_limit) {
  if (id < 0 || id >= id_limit) Refuse(part, fmt::format("the token id {} is not from 0 to {}", id, id_limit - 1));
  return static_cast<int32_t>(id);
}

// ["<s>", 0] as Bert's and Roberta's processing name their tokens.
int32_t NamedToken(const Config& part, const std::string& key, int32_t id_limit) {
  const auto place = part.json().find(key);
  if (place == part.json().end() || !place->is_array() || place->size() != 2 || !(*place)[1].is_number_integer()) {
    Refuse(part, fmt::format("'{}' must be [token, id]", key));
  }
  return CheckedId(part, (*place)[1].get<int64_t>(), id_limit);
}

std::vector<int32_t> TemplateIds(const Config& part, const std::string& name, int32_t id_limit) {
  const Config tokens = PartOf(part, "special_tokens");
  if (!tokens.Has(name)) Refuse(tokens, fmt::format("the template's token '{}' is missing", Printable(name)));
  std::vector<int32_t> ids;
  for (const int64_t id : PartOf(tokens, name).Ints("ids", {})) ids.push_back(CheckedId(tokens, id, id_limit));
  return ids;
}

SpecialFrame ReadTemplate(const Config& part, int32_t id_limit) {
  SpecialFrame frame;
  bool text_seen = false;
  for (const Config& piece : PartsOf(part, "single")) {
    if (piece.Has("Sequence")) {
      if (text_seen || piece.Object("Sequence").String("id", "A") != "A") {
        Refuse(piece, "a template for one text must have the sequence A once");
      }
      text_seen = true;
      continue;
    }
    const std::string name = PartOf(piece, "SpecialToken").String("id", "");
    std::vector<int32_t>& side = text_seen ? frame.behind : frame.before;
    const std::vector<int32_t> ids = TemplateIds(part, name, id_limit);
    side.insert(side.end(), ids.begin(), ids.end());
  }
  if (!text_seen) Refuse(part, "the template has no place for the text");
  return frame;
}

// Each processor frames what the ones before it made.
SpecialFrame ReadSequence(const Config& part, int32_t id_limit) {
  SpecialFrame frame;
  for (const Config& step : PartsOf(part, "processors")) {
    const SpecialFrame outer = ReadSpecialFrame(step, id_limit);
    frame.before.insert(frame.before.begin(), outer.before.begin(), outer.before.end());
    frame.behind.insert(frame.behind.end(), outer.behind.begin(), outer.behind.end());
  }
  return frame;
}

}  // namespace

SpecialFrame ReadSpecialFrame(const Config& part, int32_t id_limit) {
  const std::string type = TypeOf(part);
  if (type == "ByteLevel") return {};  // concerns offsets only
  if (type == "Sequence") return ReadSequence(part, id_limit);
  if (type == "TemplateProcessing") return ReadTemplate(part, id_limit);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return {{NamedToken(part, "cls", id_limit)}, {NamedToken(part, "sep", id_limit)}};
  }
  RefuseType(part, "post-processor", kKnown);
}

}  // namespace tessera
