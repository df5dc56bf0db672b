// Mask strategies of sliding tile attention: a window of tiles for every denoising step, layer and head.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/tile_windows.h"

namespace tessera {

struct WindowEntry {
  int32_t step = 0, layer = 0, head = 0;
  TileWindow window = {};
};

// "[3, 1, 10]".
std::string Print(const TileWindow& window);

// Entries are sorted by step, layer and head, no place twice. Places without an entry are dense.
class WindowStrategy {
 public:
  WindowStrategy() = default;
  explicit WindowStrategy(std::vector<WindowEntry> entries);

  std::span<const WindowEntry> entries() const noexcept { return entries_; }
  std::span<const WindowEntry> At(int step, int layer) const noexcept;

  // A JSON object of "step_layer_head": [t, h, w], as Parse reads it; one line per entry.
  std::string ToJson() const;

 private:
  std::vector<WindowEntry> entries_;
};

// A window may also be text ("[3, 1, 10]" or "3,1,10") or hold its numbers as text, as older files do; numbers beyond
// 2^31 - 1 count as that. Keys with such numbers name no place and are left out. Throws Error{kFormat} that names
// `file` and the key.
WindowStrategy ParseWindowStrategy(std::string_view json, const std::string& file);
WindowStrategy ReadWindowStrategy(const std::filesystem::path& path);  // throws Error{kIo} as well

// A window as text, "[3, 1, 10]" or "3,1,10". Throws Error{kFormat} that starts with `where`.
TileWindow ParseTileWindow(std::string_view text, const std::string& where);

}  // namespace tessera
