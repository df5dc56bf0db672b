// Models in the local cache of huggingface_hub. Nothing is downloaded.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace tessera {

// "org/name" in the characters the hub allows.
bool IsHubName(std::string_view name);

// HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/huggingface/hub: the
// first that is set, as huggingface_hub does it.
std::filesystem::path HubCacheFolder();

// The line that downloads the model: "hf download org/name --revision v1".
std::string DownloadLine(std::string_view name, std::string_view revision);

// The snapshot of a revision (branch, tag or commit) of a hub model. Throws Error{kIo} with the `hf download` line.
std::filesystem::path FindSnapshot(const std::string& name, const std::string& revision);

// The same for a folder models--org--name; nothing when it does not have that form.
std::optional<std::filesystem::path> SnapshotInside(const std::filesystem::path& folder, const std::string& revision);

}  // namespace tessera
