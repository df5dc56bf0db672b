// JSON configuration files with typed access.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace tessera {

// A JSON object with typed access that names the file and the key when a value has the wrong type or range.
class Config {
 public:
  Config(nlohmann::json json, std::string file) : json_(std::move(json)), file_(std::move(file)) {}
  static Config FromFile(const std::filesystem::path& path);  // throws Error{kIo, kFormat}; limits size and depth

  const std::string& file() const noexcept { return file_; }
  const nlohmann::json& json() const noexcept { return json_; }
  bool Has(const std::string& key) const;  // present and not null

  // The value, or `fallback` when absent or null. Throws Error{kFormat} for a wrong type or a value out of range.
  int64_t Int(const std::string& key, int64_t fallback, int64_t least = 0, int64_t most = int64_t{1} << 31) const;
  double Float(const std::string& key, double fallback) const;
  bool Bool(const std::string& key, bool fallback) const;
  std::string String(const std::string& key, const std::string& fallback) const;
  std::vector<int64_t> Ints(const std::string& key, const std::vector<int64_t>& fallback) const;
  Config Object(const std::string& key) const;  // empty object when absent

 private:
  nlohmann::json json_;
  std::string file_;
};

}  // namespace tessera
