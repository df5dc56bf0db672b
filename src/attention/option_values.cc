#include "attention/option_values.h"

#include <cmath>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace tessera {
namespace {

template <class T>
const T& ValueOf(const Options& options, std::string_view key) {
  const OptionValue* value = options.Find(key);
  TESSERA_CHECK(value != nullptr && std::holds_alternative<T>(*value));
  return std::get<T>(*value);
}

}  // namespace

bool SwitchOf(const Options& options, std::string_view key) { return ValueOf<bool>(options, key); }
int64_t WholeOf(const Options& options, std::string_view key) { return ValueOf<int64_t>(options, key); }
double NumberOf(const Options& options, std::string_view key) { return ValueOf<double>(options, key); }
const std::string& WordOf(const Options& options, std::string_view key) { return ValueOf<std::string>(options, key); }

std::vector<int64_t> WholesOf(const Options& options, std::string_view key, size_t count, std::string_view backend) {
  const auto& list = ValueOf<std::vector<double>>(options, key);
  std::vector<int64_t> wholes;
  for (const double number : list) {
    if (number != std::floor(number) || std::abs(number) > 1e9) break;
    wholes.push_back(static_cast<int64_t>(number));
  }
  if (list.size() != count || wholes.size() != count) {
    throw Error(ErrorKind::kUsage,
                fmt::format("option '{}' of attention backend '{}': wanted {} whole numbers, got {}", key, backend,
                            count, list.size() != count ? fmt::format("{}", list.size()) : "a fraction"));
  }
  return wholes;
}

}  // namespace tessera
