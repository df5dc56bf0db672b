// A plan that a shared library made, behind the interface of every plan.
#pragma once
#include <memory>

#include "attention/backend.h"
#include "tessera/attention_plugin.h"

namespace tessera {

tessera_attention_problem PluginProblem(const AttentionProblem& problem, const Device& device) noexcept;

// `options` are resolved. Throws Error{kUnsupported, kMemory} with the library's text when it cannot plan.
std::unique_ptr<AttentionPlan> MakePluginPlan(const tessera_attention_backend& backend, const AttentionProblem& problem,
                                              const Device& device, const Options& options);

}  // namespace tessera
