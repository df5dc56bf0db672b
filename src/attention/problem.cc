#include "attention/problem.h"

#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

struct MaskWord {
  std::string_view word;
  MaskFeatures feature;
};
constexpr std::array<MaskWord, 5> kMaskWords = {{{"causal", kMaskCausal},
                                                 {"causal_tl", kMaskCausalTopLeft},
                                                 {"lens", kMaskKeyLengths},
                                                 {"varlen", kMaskVarlen},
                                                 {"bias", kMaskBias}}};
constexpr std::array<std::string_view, 5> kRoles = {"self", "cross", "joint", "encoder", "vae"};

constexpr int64_t kMostTokens = std::numeric_limits<int32_t>::max();  // block lists hold 32-bit positions
constexpr int64_t kMostHeads = 1 << 16;
constexpr int64_t kMostHeadDim = 1 << 16;
constexpr size_t kLongestLine = 1000;

[[noreturn]] void Reject(std::string_view word, std::string_view wanted) {
  throw Error(ErrorKind::kUsage,
              fmt::format("attention problem: '{}' is not understood, wanted {}", Printable(word), wanted));
}

int64_t Number(std::string_view digits, std::string_view word, int64_t least, int64_t most) {
  const auto value = ParseInt(digits);
  if (!value || *value < least || *value > most) Reject(word, fmt::format("a number from {} to {}", least, most));
  return *value;
}

MaskFeatures ParseMask(std::string_view text, std::string_view word) {
  if (text == "none") return kMaskNone;
  MaskFeatures mask = kMaskNone;
  for (const std::string& part : Split(text, '+')) {
    MaskFeatures feature = part == "key_lengths" ? static_cast<MaskFeatures>(kMaskKeyLengths) : kMaskNone;
    for (const MaskWord& known : kMaskWords) {
      if (known.word == part) feature = known.feature;
    }
    if (feature == kMaskNone) Reject(word, "mask=none or causal, causal_tl, lens, varlen, bias joined by '+'");
    mask |= feature;
  }
  return mask;
}

VideoGrid ParseGrid(std::string_view text, std::string_view word) {
  const auto parts = Split(text, '+');
  const auto sizes = Split(parts[0], 'x');
  if (parts.size() > 3 || sizes.size() != 3) Reject(word, "grid=TxHxW, grid=TxHxW+PREFIX or grid=TxHxW+PREFIX+SUFFIX");
  VideoGrid grid;
  grid.t = Number(sizes[0], word, 1, kMostTokens);
  grid.h = Number(sizes[1], word, 1, kMostTokens);
  grid.w = Number(sizes[2], word, 1, kMostTokens);
  if (parts.size() > 1) grid.prefix = Number(parts[1], word, 0, kMostTokens);
  if (parts.size() > 2) grid.suffix = Number(parts[2], word, 0, kMostTokens);
  return grid;
}

AttentionRole ParseRole(std::string_view text, std::string_view word) {
  for (size_t i = 0; i < kRoles.size(); ++i) {
    if (kRoles[i] == text) return static_cast<AttentionRole>(i);
  }
  Reject(word, "role=self, cross, joint, encoder or vae");
}

float ParseScale(std::string_view text, std::string_view word) {
  const auto value = ParseFloat(text);
  if (!value || !(static_cast<float>(*value) > 0) || !std::isfinite(static_cast<float>(*value))) {
    Reject(word, "scale=F with F above 0");
  }
  return static_cast<float>(*value);
}

// What a line says, with the parts that only make sense together.
struct ParsedLine {
  AttentionProblem problem;
  bool dtype = false, heads = false, head_dim = false, q_len = false, kv_len = false;
  std::optional<int64_t> prefix, suffix;
};

// "key=value" words.
void ParseAssignment(std::string_view word, size_t equals, ParsedLine& line) {
  const std::string_view key = word.substr(0, equals), value = word.substr(equals + 1);
  constexpr int64_t kMost = std::numeric_limits<int>::max();
  AttentionProblem& problem = line.problem;
  if (key == "mask") {
    problem.mask = ParseMask(value, word);
  } else if (key == "scale") {
    problem.scale = ParseScale(value, word);
  } else if (key == "role") {
    problem.role = ParseRole(value, word);
  } else if (key == "grid") {
    problem.grid = ParseGrid(value, word);
  } else if (key == "prefix") {
    line.prefix = Number(value, word, 0, kMostTokens);
  } else if (key == "suffix") {
    line.suffix = Number(value, word, 0, kMostTokens);
  } else if (key == "step") {
    problem.step = static_cast<int>(Number(value, word, 0, kMost));
  } else if (key == "layer") {
    problem.layer = static_cast<int>(Number(value, word, 0, kMost));
  } else {
    Reject(word, "one of mask= scale= role= grid= prefix= suffix= step= layer=");
  }
}

void ParseHeads(std::string_view word, ParsedLine& line) {
  const auto parts = Split(word.substr(1), '/');
  if (parts.size() > 2) Reject(word, "hHEADS or hHEADS/KV_HEADS");
  line.problem.heads = static_cast<int>(Number(parts[0], word, 1, kMostHeads));
  line.problem.kv_heads = static_cast<int>(Number(parts.back(), word, 1, kMostHeads));
  line.heads = true;
}

// Words of letters and digits; false when the word starts like none of them.
bool ParseSize(std::string_view word, ParsedLine& line) {
  AttentionProblem& problem = line.problem;
  if (word.starts_with("kv")) {
    problem.kv_len = Number(word.substr(2), word, 0, kMostTokens);
    line.kv_len = true;
  } else if (word.starts_with('q')) {
    problem.q_len = Number(word.substr(1), word, 0, kMostTokens);
    line.q_len = true;
  } else if (word.starts_with('b')) {
    problem.batch = Number(word.substr(1), word, 1, kMostTokens);
  } else if (word.starts_with('h')) {
    ParseHeads(word, line);
  } else if (word.starts_with('d')) {
    problem.head_dim = static_cast<int>(Number(word.substr(1), word, 1, kMostHeadDim));
    line.head_dim = true;
  } else {
    return false;
  }
  return true;
}

void ParseWord(std::string_view word, ParsedLine& line) {
  if (const auto dtype = ParseDType(word)) {
    line.problem.dtype = *dtype;
    line.dtype = true;
  } else if (const size_t equals = word.find('='); equals != std::string_view::npos) {
    ParseAssignment(word, equals, line);
  } else if (word == "lse") {
    line.problem.needs_lse = true;
  } else if (word == "gate") {
    line.problem.has_gate = true;
  } else if (!ParseSize(word, line)) {
    Reject(word, "words like 'bf16 b1 h24/24 d128 q4608 kv4608 mask=none lse'");
  }
}

void CheckComplete(const ParsedLine& line, std::string_view text) {
  const struct {
    bool present;
    std::string_view what;
  } wanted[] = {
      {line.dtype, "a dtype (bf16)"},
      {line.heads, "heads (h24 or h24/8)"},
      {line.head_dim, "a head dim (d128)"},
      {line.q_len, "a query length (q4608)"},
      {line.kv_len, "a key length (kv4608)"},
      {line.problem.grid || (!line.prefix && !line.suffix), "a grid (grid=1x32x32) for its prefix or suffix"}};
  for (const auto& part : wanted) {
    if (!part.present) {
      throw Error(ErrorKind::kUsage, fmt::format("attention problem '{}' lacks {}", Printable(text), part.what));
    }
  }
}

}  // namespace

std::string_view Name(AttentionRole role) noexcept { return kRoles[static_cast<size_t>(role)]; }

float AttentionProblem::softmax_scale() const noexcept {
  return scale ? *scale : static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)));
}

double AttentionProblem::flops() const noexcept {
  const double dense =
      4.0 * static_cast<double>(batch) * heads * static_cast<double>(q_len) * static_cast<double>(kv_len) * head_dim;
  const bool causal = (mask & (kMaskCausal | kMaskCausalTopLeft)) != 0;
  return causal && q_len == kv_len ? dense / 2 : dense;
}

std::string_view Defect(const AttentionProblem& problem) noexcept {
  const auto both = [&](MaskFeatures features) { return (problem.mask & features) == features; };
  if (problem.batch < 1 || problem.heads < 1 || problem.kv_heads < 1 || problem.head_dim < 1) {
    return "batch, heads, kv heads and head dim must be at least 1";
  }
  if (problem.q_len < 0 || problem.kv_len < 0 || problem.q_len > kMostTokens || problem.kv_len > kMostTokens) {
    return "a length is negative or beyond 2^31 - 1";
  }
  if (problem.heads % problem.kv_heads != 0) return "kv heads do not divide heads";
  if (both(kMaskCausal | kMaskCausalTopLeft)) return "both causal alignments at once";
  if (both(kMaskVarlen | kMaskKeyLengths)) return "varlen sequences have their lengths already, lens cannot be added";
  if (both(kMaskVarlen) && problem.batch != 1) return "varlen packs all sequences into batch 1";
  if (problem.scale && !(*problem.scale > 0 && std::isfinite(*problem.scale))) return "the scale must be above 0";
  return "";
}

std::string PrintMask(MaskFeatures mask) {
  std::string text;
  for (const MaskWord& known : kMaskWords) {
    if ((mask & known.feature) == 0) continue;
    if (!text.empty()) text += '+';
    text += known.word;
  }
  return text.empty() ? "none" : text;
}

std::string Print(const AttentionProblem& problem) {
  std::string line =
      fmt::format("{} b{} h{}/{} d{} q{} kv{} mask={}", Name(problem.dtype), problem.batch, problem.heads,
                  problem.kv_heads, problem.head_dim, problem.q_len, problem.kv_len, PrintMask(problem.mask));
  if (problem.scale) line += fmt::format(" scale={}", *problem.scale);
  if (problem.needs_lse) line += " lse";
  if (problem.role != AttentionRole::kSelf) line += fmt::format(" role={}", Name(problem.role));
  if (problem.grid) {
    line += fmt::format(" grid={}x{}x{}", problem.grid->t, problem.grid->h, problem.grid->w);
    if (problem.grid->prefix != 0 || problem.grid->suffix != 0) line += fmt::format("+{}", problem.grid->prefix);
    if (problem.grid->suffix != 0) line += fmt::format("+{}", problem.grid->suffix);
  }
  if (problem.has_gate) line += " gate";
  if (problem.step >= 0) line += fmt::format(" step={}", problem.step);
  if (problem.layer >= 0) line += fmt::format(" layer={}", problem.layer);
  return line;
}

AttentionProblem ParseAttentionProblem(std::string_view text) {
  if (text.size() > kLongestLine) {
    throw Error(ErrorKind::kUsage,
                fmt::format("attention problem of {} characters: at most {}", text.size(), kLongestLine));
  }
  ParsedLine line;
  for (const std::string& word : Split(text, ' ')) {
    if (!Trim(word).empty()) ParseWord(Trim(word), line);
  }
  CheckComplete(line, text);
  if (line.prefix) line.problem.grid->prefix = *line.prefix;
  if (line.suffix) line.problem.grid->suffix = *line.suffix;
  if (const std::string_view defect = Defect(line.problem); !defect.empty()) {
    throw Error(ErrorKind::kUsage, fmt::format("attention problem '{}': {}", Printable(text), defect));
  }
  return line.problem;
}

}  // namespace tessera
