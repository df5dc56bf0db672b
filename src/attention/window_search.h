// Searching and tuning the windows of sliding tile attention: how far every candidate is from the full window, and the
// strategy that follows from it.
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "attention/window_strategy.h"

namespace tessera {

// Of one prompt and one pass. A loss is NaN where nothing was measured.
struct WindowLosses {
  std::vector<TileWindow> candidates;
  int steps = 0, layers = 0, heads = 0;
  // [candidates][steps][layers][heads]: mean over samples, tokens and channels of |out - full| and (out - full)^2.
  std::vector<double> l1, l2;

  size_t At(size_t candidate, int step, int layer) const noexcept;  // of head 0
};

// Reserves for the losses and sets all to NaN.
WindowLosses EmptyLosses(std::vector<TileWindow> candidates, int steps, int layers, int heads);

// {"L2_loss": {"[3, 1, 10]": [steps][layers][heads], ...}, "L1_loss": {...}}, 9 digits, as the
// losses of quiet heads lie far below 1e-6; null for NaN.
nlohmann::json ToJson(const WindowLosses& losses);

// Reads what ToJson writes; "L1_loss" may be missing, the order of the candidates is the one of the keys. Throws
// Error{kFormat} that names `file` for other contents, tables that are not rectangular or differ in size.
WindowLosses ParseWindowLosses(const nlohmann::json& json, const std::string& file);

// The losses of all files "mask_search*.json" in a folder, by name. Throws Error{kIo} without any, Error{kFormat}.
std::vector<WindowLosses> ReadWindowLosses(const std::filesystem::path& folder);

struct TunedWindows {
  WindowStrategy strategy;
  double sparsity = 0;  // 1 - tiles of the windows / tiles of full windows
};

// The full window for the first `skip_steps`, then the candidate whose L2, averaged over `prompts`, is least; of equals
// the first. Without a finite one the full window. Empty `candidates`: all those of the first prompt. For guidance,
// `prompts` are those of both passes. Throws Error{kUsage} when prompts differ in size or lack a candidate.
TunedWindows TuneWindows(std::span<const WindowLosses> prompts, std::span<const TileWindow> candidates,
                         const TileWindow& full, int skip_steps);

// Candidates for a grid of that many tiles: (3,1,10) (1,5,7) (3,3,3) (1,6,5) (1,3,10) (3,6,1), which were used for
// 3 x 6 x 10 tiles, in proportion; none is full, none is there twice. Empty for a single tile.
std::vector<TileWindow> CandidateWindows(const TileWindow& full);

}  // namespace tessera
