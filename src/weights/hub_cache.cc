#include "weights/hub_cache.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

#include "base/environment.h"
#include "base/error.h"
#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

bool IsHubWord(std::string_view word) {
  constexpr std::string_view kAllowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !word.empty() && word.size() <= 96 && word.find_first_not_of(kAllowed) == std::string_view::npos &&
         word.front() != '.' && word.front() != '-';
}

bool IsRevision(std::string_view revision) {
  const std::vector<std::string> parts = Split(revision, '/');
  return std::ranges::all_of(parts, [](const std::string& part) {
    return !part.empty() && part != "." && part != ".." && part.find('\0') == std::string::npos;
  });
}

fs::path Expand(const std::string& path) {
  const std::string home = EnvironmentVariable("HOME");
  if (path == "~") return home;
  return path.starts_with("~/") ? fs::path(home) / path.substr(2) : fs::path(path);
}

bool IsFolder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// refs/<revision> is a file with a commit; a commit is its own name.
std::optional<fs::path> Resolve(const fs::path& folder, const std::string& revision) {
  if (!IsRevision(revision)) return std::nullopt;
  std::error_code ignored;
  const fs::path ref = folder / "refs" / revision;
  std::string commit = revision;
  if (fs::is_regular_file(ref, ignored)) commit = std::string(Trim(ReadWholeFile(ref, 4096)));
  if (commit.find('/') != std::string::npos || !IsRevision(commit)) return std::nullopt;
  const fs::path snapshot = folder / "snapshots" / commit;
  return IsFolder(snapshot) ? std::optional(snapshot) : std::nullopt;
}

}  // namespace

bool IsHubName(std::string_view name) {
  const std::vector<std::string> parts = Split(name, '/');
  return parts.size() == 2 && IsHubWord(parts[0]) && IsHubWord(parts[1]);
}

fs::path HubCacheFolder() {
  for (const char* variable : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    if (const std::string value = EnvironmentVariable(variable); !value.empty()) return Expand(value);
  }
  if (const std::string value = EnvironmentVariable("HF_HOME"); !value.empty()) return Expand(value) / "hub";
  if (const std::string value = EnvironmentVariable("XDG_CACHE_HOME"); !value.empty()) {
    return Expand(value) / "huggingface" / "hub";
  }
  return Expand("~/.cache/huggingface/hub");
}

std::string DownloadLine(std::string_view name, std::string_view revision) {
  const std::string line = fmt::format("hf download {}", name);
  return revision == "main" ? line : fmt::format("{} --revision {}", line, Printable(revision));
}

fs::path FindSnapshot(const std::string& name, const std::string& revision) {
  const size_t slash = name.find('/');
  const fs::path cache = HubCacheFolder();
  const fs::path folder = cache / fmt::format("models--{}--{}", name.substr(0, slash), name.substr(slash + 1));
  if (const auto snapshot = SnapshotInside(folder, revision)) return *snapshot;
  const std::string what = IsFolder(folder / "snapshots")
                               ? fmt::format("revision '{}' of '{}'", Printable(revision), name)
                               : fmt::format("'{}'", name);
  throw Error(ErrorKind::kIo,
              fmt::format("{} is neither a folder nor in the Hugging Face cache '{}'; `{}` downloads it", what,
                          Printable(cache.string(), 400), DownloadLine(name, revision)));
}

std::optional<fs::path> SnapshotInside(const fs::path& folder, const std::string& revision) {
  if (!IsFolder(folder / "snapshots")) return std::nullopt;
  return Resolve(folder, revision);
}

}  // namespace tessera
