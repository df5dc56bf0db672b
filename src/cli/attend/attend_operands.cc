#include "cli/attend/attend_operands.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

[[noreturn]] void Refuse(const NamedTensor& named, const std::string& what) {
  throw Error(ErrorKind::kFormat, fmt::format("tensor '{}' {}", Printable(named.name), what));
}

NamedTensor Wanted(const FindTensor& find, const std::string& name, const AttentionProblem& problem) {
  NamedTensor named = find(name);
  if (!named.present) {
    throw Error(ErrorKind::kFormat, fmt::format("no tensor '{}', which the problem '{}' needs", name, Print(problem)));
  }
  return named;
}

bool IsFloat(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16; }

void CheckShape(const NamedTensor& named, const Shape& wanted, const AttentionProblem& problem) {
  if (named.tensor.shape() == wanted) return;
  Refuse(named, fmt::format("is {}, wanted {} for the problem '{}'", named.tensor.shape().ToString(), wanted.ToString(),
                            Print(problem)));
}

Tensor AsF32(const Tensor& tensor) { return tensor.dtype() == DType::kF32 ? tensor : tensor.To(DType::kF32); }

// Values up to `tokens[b]` of every batch entry must be finite.
void CheckFinite(const NamedTensor& named, const Tensor& values, std::span<const int32_t> tokens) {
  const Tensor floats = AsF32(values);
  const int64_t length = values.dim(1), row = values.dim(2) * values.dim(3);
  for (int64_t b = 0; b < values.dim(0); ++b) {
    const int64_t seen = tokens.empty() ? length : tokens[static_cast<size_t>(b)];
    const float* first = floats.data<float>() + b * length * row;
    const auto* bad = std::find_if_not(first, first + seen * row, [](float x) { return std::isfinite(x); });
    if (bad == first + seen * row) continue;
    const bool overflow = named.tensor.dtype() != values.dtype();
    Refuse(named, fmt::format("has a value that is not finite{} at batch {}, token {}",
                              overflow ? fmt::format(" (as {})", Name(values.dtype())) : "", b, (bad - first) / row));
  }
}

bool SameValues(const Tensor& a, const Tensor& b) {
  const Tensor x = AsF32(a), y = AsF32(b);
  const float *left = x.data<float>(), *right = y.data<float>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    if (left[i] != right[i] && !(std::isnan(left[i]) && std::isnan(right[i]))) return false;
  }
  return true;
}

// [batch, seq, heads, head_dim] in the problem's dtype; `seen` tokens of every batch entry are checked.
Tensor ReadRows(const NamedTensor& named, const Shape& shape, std::span<const int32_t> seen, AttendCall& call) {
  const AttentionProblem& problem = call.problem;
  CheckShape(named, shape, problem);
  if (!IsFloat(named.tensor.dtype())) {
    Refuse(named, fmt::format("is {}; f32, bf16 and f16 work", Name(named.tensor.dtype())));
  }
  const Tensor converted = named.tensor.dtype() == problem.dtype ? named.tensor : named.tensor.To(problem.dtype);
  CheckFinite(named, converted, seen);
  if (named.tensor.dtype() != problem.dtype && !SameValues(named.tensor, converted)) {
    call.notes.push_back(fmt::format("tensor '{}' was rounded from {} to the problem's {}", named.name,
                                     Name(named.tensor.dtype()), Name(problem.dtype)));
  }
  return converted;
}

// Whole numbers in [0, most]. Throws for another type.
std::vector<int32_t> ReadLengths(const NamedTensor& named, int64_t most) {
  const Tensor& tensor = named.tensor;
  if (tensor.rank() != 1) Refuse(named, fmt::format("is {}, wanted one axis", tensor.shape().ToString()));
  if (tensor.dtype() != DType::kI32 && tensor.dtype() != DType::kI64) {
    Refuse(named, fmt::format("is {}; i32 and i64 work", Name(tensor.dtype())));
  }
  std::vector<int32_t> lengths;
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    const int64_t value = tensor.dtype() == DType::kI64 ? tensor.data<int64_t>()[i] : tensor.data<int32_t>()[i];
    if (value < 0 || value > most) Refuse(named, fmt::format("holds {}, wanted 0 to {}", value, most));
    lengths.push_back(static_cast<int32_t>(value));
  }
  return lengths;
}

std::vector<int32_t> ReadBegins(const NamedTensor& named, int64_t total) {
  std::vector<int32_t> begins = ReadLengths(named, total);
  if (begins.size() < 2 || begins.front() != 0 || !std::is_sorted(begins.begin(), begins.end())) {
    Refuse(named, "wanted the beginnings of sequences and their end: ascending from 0");
  }
  if (begins.back() != total) {
    Refuse(named, fmt::format("ends at {}, the problem's sequences end at {}", begins.back(), total));
  }
  return begins;
}

void ReadMaskLengths(const FindTensor& find, AttendCall& call) {
  const AttentionProblem& problem = call.problem;
  if ((problem.mask & kMaskKeyLengths) != 0) {
    const NamedTensor named = Wanted(find, "key_lengths", problem);
    CheckShape(named, {problem.batch}, problem);
    call.key_lengths = ReadLengths(named, problem.kv_len);
  }
  if ((problem.mask & kMaskVarlen) != 0) {
    const NamedTensor keys = Wanted(find, "cu_seqlens_k", problem);
    call.cu_seqlens_q = ReadBegins(Wanted(find, "cu_seqlens_q", problem), problem.q_len);
    call.cu_seqlens_k = ReadBegins(keys, problem.kv_len);
    if (call.cu_seqlens_q.size() != call.cu_seqlens_k.size()) {
      Refuse(keys, fmt::format("has {} sequences, 'cu_seqlens_q' has {}", call.cu_seqlens_k.size() - 1,
                               call.cu_seqlens_q.size() - 1));
    }
  }
}

// -inf hides a key; NaN and +inf have no meaning.
void CheckBias(const NamedTensor& named) {
  if (!IsFloat(named.tensor.dtype())) return;
  const Tensor floats = AsF32(named.tensor);
  for (int64_t i = 0; i < floats.numel(); ++i) {
    const float value = floats.data<float>()[i];
    if (std::isnan(value) || value == INFINITY) Refuse(named, fmt::format("holds {} at element {}", value, i));
  }
}

// Any of the first three axes may be 1; missing ones are.
void ReadBias(const FindTensor& find, AttendCall& call) {
  const AttentionProblem& problem = call.problem;
  const NamedTensor named = find("bias");
  if ((problem.mask & kMaskBias) == 0) {
    if (named.present) {
      Refuse(named, fmt::format("is there, but the problem says mask={}; mask={} would take it",
                                PrintMask(problem.mask), PrintMask(problem.mask | kMaskBias)));
    }
    return;
  }
  const Tensor bias = Wanted(find, "bias", problem).tensor;
  const Shape full{problem.batch, problem.heads, problem.q_len, problem.kv_len};
  Shape shape{1, 1, 1, 1};
  bool fits = bias.rank() >= 2 && bias.rank() <= 4;
  for (int axis = 0; fits && axis < bias.rank(); ++axis) {
    const int place = 4 - bias.rank() + axis;
    shape[place] = bias.dim(axis);
    fits = shape[place] == full[place] || (place < 3 && shape[place] == 1);
  }
  if (!fits) {
    Refuse(named, fmt::format("is {}, wanted {} (the first three may be 1 or missing)", bias.shape().ToString(),
                              full.ToString()));
  }
  if (!IsFloat(bias.dtype()) && bias.dtype() != DType::kBool && bias.dtype() != DType::kU8) {
    Refuse(named, fmt::format("is {}; f32, bf16, f16, bool and u8 (0 hides) work", Name(bias.dtype())));
  }
  CheckBias(named);
  call.bias = bias.Reshape(shape);
}

// [heads, clusters], tokens of the video.
std::vector<int32_t> ReadInitTokens(const NamedTensor& named, const AttentionProblem& problem) {
  if (!named.present || !problem.grid) return {};
  const Tensor& tokens = named.tensor;
  if (tokens.rank() != 2 || tokens.dim(0) != problem.heads) {
    Refuse(named, fmt::format("is {}, wanted [{}, clusters]", tokens.shape().ToString(), problem.heads));
  }
  const int64_t video = problem.grid->t * problem.grid->h * problem.grid->w;
  return ReadLengths({named.name, tokens.Reshape({tokens.numel()}), true}, video - 1);
}

}  // namespace

void ReadOperands(const FindTensor& find, AttendCall& call) {
  const AttentionProblem& problem = call.problem;
  const Shape queries{problem.batch, problem.q_len, problem.heads, problem.head_dim};
  const Shape keys{problem.batch, problem.kv_len, problem.kv_heads, problem.head_dim};
  const NamedTensor q = Wanted(find, "q", problem), k = Wanted(find, "k", problem), v = Wanted(find, "v", problem);
  call.out_dtype = q.tensor.dtype() == DType::kF32 ? DType::kF32 : problem.dtype;
  ReadMaskLengths(find, call);
  call.q = ReadRows(q, queries, {}, call);
  call.k = ReadRows(k, keys, call.key_lengths, call);
  call.v = ReadRows(v, keys, call.key_lengths, call);
  if (problem.has_gate) {
    call.gate = ReadRows(Wanted(find, "gate", problem), queries, {}, call);
  } else if (find("gate").present) {
    call.notes.push_back("tensor 'gate' is left aside: the problem line does not say gate");
  }
  ReadBias(find, call);
  call.q_init_tokens = ReadInitTokens(find("q_init_tokens"), problem);
  call.k_init_tokens = ReadInitTokens(find("k_init_tokens"), problem);
}

}  // namespace tessera
