// Attention in doubles by its definition, and how far a result is from it.
#pragma once
#include <string>
#include <vector>

#include "attention/backend.h"
#include "conformance/attention_case.h"

namespace tessera {

struct AttentionTruth {
  std::vector<double> out;    // [batch, heads, q_len, head_dim]
  std::vector<double> lse;    // [batch, heads, q_len]
  double largest_score = 0;   // absolute, of visible pairs
  double largest_spread = 0;  // scale * |q| * |k| / sqrt(head_dim) of visible pairs: a score of unrelated q and k
};

AttentionTruth SolveInDoubles(const AttentionCase& attention);

// "" when the case's outputs are within the bound of `fidelity`, the gaps are untouched and rows without keys are
// right. `bits`: as in AttentionCaps, of kQuantized.
std::string Deviation(const AttentionCase& attention, const AttentionTruth& truth, Fidelity fidelity, int bits = 8);

}  // namespace tessera
