// What tells one model folder from another without reading its weights.
#pragma once
#include <filesystem>
#include <map>
#include <span>
#include <string>

namespace tessera {

// 16 hexadecimal digits over the bytes (FNV-1a): tells contents apart, not adversaries.
std::string Fingerprint(std::span<const std::byte> bytes);

// Configurations and tokenizers by their contents, weight files by their size, header and a sample of their bytes.
// Throws Error{kIo}.
std::string FingerprintFile(const std::filesystem::path& path);

// model_index.json and the files one folder below, by their path in the model's folder; hidden and other files are left
// out.
std::map<std::string, std::string> FingerprintModel(const std::filesystem::path& folder);

}  // namespace tessera
