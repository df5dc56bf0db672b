#include "weights/fingerprint.h"

#include <algorithm>
#include <cstddef>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "base/fnv_hash.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr size_t kWholeBytes = size_t{64} << 20;  // larger files are sampled
constexpr size_t kBlock = 4096, kBlocks = 64;

std::string Text(const FnvHash& hash) { return fmt::format("{:016x}", hash.value()); }

// The beginning, where a header lies, and blocks spread over the rest.
std::string Sample(std::span<const std::byte> bytes) {
  FnvHash hash;
  for (size_t i = 0; i < kBlocks; ++i) {
    const size_t at = (bytes.size() - kBlock) * i / (kBlocks - 1);
    hash.Add(bytes.subspan(at, kBlock));
  }
  return Text(hash);
}

bool Counts(const fs::directory_entry& entry) {
  static const std::set<std::string> kinds = {".json", ".txt", ".model", ".jinja", ".safetensors"};
  std::error_code ignored;
  return entry.path().filename().string()[0] != '.' && kinds.contains(entry.path().extension().string()) &&
         entry.is_regular_file(ignored);
}

}  // namespace

std::string Fingerprint(std::span<const std::byte> bytes) {
  FnvHash hash;
  hash.Add(bytes);
  return Text(hash);
}

std::string FingerprintFile(const fs::path& path) {
  const MappedFile file = MapFile(path);
  const std::span bytes(file.bytes.get(), file.size);
  const bool sampled = path.extension() == ".safetensors" && bytes.size() > kBlock * kBlocks;
  const std::string digits = sampled || bytes.size() > kWholeBytes ? Sample(bytes) : Fingerprint(bytes);
  return fmt::format("{} bytes, {}", bytes.size(), digits);
}

std::map<std::string, std::string> FingerprintModel(const fs::path& folder) {
  std::map<std::string, std::string> files = {{"model_index.json", FingerprintFile(folder / "model_index.json")}};
  std::error_code error;
  for (fs::directory_iterator part(folder, error), end; !error && part != end; part.increment(error)) {
    std::error_code ignored;
    if (part->path().filename().string()[0] == '.' || !part->is_directory(ignored)) continue;
    for (const auto& entry : fs::directory_iterator(part->path(), ignored)) {
      if (Counts(entry)) files[fs::relative(entry.path(), folder).string()] = FingerprintFile(entry.path());
    }
  }
  return files;
}

}  // namespace tessera
