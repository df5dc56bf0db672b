// Runs a vendor's adapter on a problem, with stand-ins for the vendor's libraries loaded before it.
#pragma once
#include <string>

#include "attention/plugin.h"
#include "conformance/attention_oracle.h"

namespace tessera {

// Opens a stand-in, so that the adapter finds it by its name. Returns the library.
void* OpenStandIn(const std::string& name);

template <class Function>
Function* StandInFunction(void* library, const char* name);
void* StandInSymbol(void* library, const char* name);

template <class Function>
Function* StandInFunction(void* library, const char* name) {
  return reinterpret_cast<Function*>(StandInSymbol(library, name));
}

// The adapter's only backend. `library`: "tessera_aiter.so".
std::shared_ptr<const AttentionPlugin> LoadAdapter(const std::string& library);

// Runs the problem on random operands with gaps between rows; "" when the result is right, else how it is wrong.
std::string RunOn(const AttentionBackend& backend, const std::string& line, const Options& options = {});

}  // namespace tessera
