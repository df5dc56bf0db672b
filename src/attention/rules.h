// The only place where data sheets meet problems.
#pragma once
#include <string_view>
#include <vector>

#include "attention/backend.h"

namespace tessera {

// The reasons why `backend` cannot serve `problem` on `device`, in table order; empty: it can.
std::vector<std::string_view> Refusals(const AttentionBackend& backend, const AttentionProblem& problem,
                                       const Device& device);

}  // namespace tessera
