// Reading resolved options into the types planners use.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "attention/backend.h"

namespace tessera {

// Values of `options`, which ResolveOptions has completed.
bool SwitchOf(const Options& options, std::string_view key);
int64_t WholeOf(const Options& options, std::string_view key);
double NumberOf(const Options& options, std::string_view key);
const std::string& WordOf(const Options& options, std::string_view key);

// A list of exactly `count` whole numbers. Throws Error{kUsage} naming `backend`.
std::vector<int64_t> WholesOf(const Options& options, std::string_view key, size_t count, std::string_view backend);

}  // namespace tessera
