#include "attention/tile_windows.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace tessera {
namespace {

constexpr double kMostListed = 1 << 30;

// Lists of that many blocks, or of row ends.
size_t Listed(double count, const GridTiles& tiles) {
  if (count <= kMostListed) return static_cast<size_t>(count);
  throw Error(ErrorKind::kUnsupported,
              fmt::format("sliding windows over {} tiles list {:.3g} blocks in one call, at most {:.3g}; larger tiles "
                          "would work",
                          tiles.tiles, count, kMostListed));
}

// Query-key pairs of one axis. With n tiles of s tokens, the last of which lacks d: the window holds k * s keys but for
// the half + 1 query tiles that see the last tile, which is itself one of them.
double PairsOf(const TileAxis& axis, int32_t window) {
  const auto tokens = static_cast<double>(axis.tokens), size = static_cast<double>(axis.size);
  const int64_t tiles = axis.tiles();
  if (window >= tiles) return tokens * tokens;
  const auto last = static_cast<double>(axis.TokensOf(tiles - 1));
  const double lacks = size - last, half = window / 2;
  return size * (static_cast<double>(tiles - 1) * window * size - half * lacks) + last * (window * size - lacks);
}

void AppendAscending(std::vector<int32_t>& list, int64_t first, int64_t end) {
  const size_t at = list.size();
  list.resize(at + static_cast<size_t>(end - first));
  std::iota(list.begin() + static_cast<std::ptrdiff_t>(at), list.end(), static_cast<int32_t>(first));
}

}  // namespace

TileRange SeenTiles(int64_t tile, int64_t tiles, int32_t window) noexcept {
  if (window >= tiles) return {0, tiles};
  const int64_t half = window / 2, centre = std::clamp(tile, half, tiles - 1 - half);
  return {centre - half, centre + half + 1};
}

TileWindow FullWindow(const std::array<TileAxis, 3>& axes) noexcept {
  TileWindow full;
  for (size_t axis = 0; axis < full.size(); ++axis) full[axis] = static_cast<int32_t>(axes[axis].tiles());
  return full;
}

bool IsFull(const TileWindow& window, const std::array<TileAxis, 3>& axes) noexcept {
  const TileWindow full = FullWindow(axes);
  return window[0] >= full[0] && window[1] >= full[1] && window[2] >= full[2];
}

std::string_view EvenAxis(const TileWindow& window, const std::array<TileAxis, 3>& axes) noexcept {
  constexpr std::array<std::string_view, 3> kNames = {"t", "h", "w"};
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    if (window[axis] % 2 == 0 && window[axis] < axes[axis].tiles()) return kNames[axis];
  }
  return "";
}

double WindowDensity(const TileWindow& window, const std::array<TileAxis, 3>& axes, int64_t text_tokens) noexcept {
  double pairs = 1, video = 1;
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    pairs *= PairsOf(axes[axis], window[axis]);
    video *= static_cast<double>(axes[axis].tokens);
  }
  const auto text = static_cast<double>(text_tokens), all = video + text;
  return (pairs + video * text + text * all) / (all * all);
}

double VisitedBlocks(const TileWindow& window, const GridTiles& tiles) noexcept {
  double seen = tiles.tiles;
  for (size_t axis = 0; axis < window.size(); ++axis) {
    seen *= static_cast<double>(std::min<int64_t>(window[axis], tiles.axes[axis].tiles()));
  }
  return seen + static_cast<double>(tiles.text_blocks) * (tiles.tiles + tiles.blocks());
}

WindowBlocks::WindowBlocks(GridTiles tiles, int64_t batch, int heads)
    : tiles_(std::move(tiles)), batch_(batch), windows_(static_cast<size_t>(heads)) {
  plan_.q_blocks = plan_.kv_blocks = tiles_.blocks();
  plan_.q.offsets = tiles_.offsets;
  if (!tiles_.keeps_order()) plan_.q.permutation = tiles_.permutation;
  plan_.kv = plan_.q;
  plan_.row_begin.reserve(Listed(static_cast<double>(batch) * heads * tiles_.blocks(), tiles_) + 1);
}

void WindowBlocks::Reserve(double blocks) {
  plan_.kv_list.reserve(Listed(blocks * static_cast<double>(batch_), tiles_));
}

const BlockPlan* WindowBlocks::For(std::span<const TileWindow> windows) noexcept {
  const auto is_full = [&](const TileWindow& window) { return IsFull(window, tiles_.axes); };
  if (std::all_of(windows.begin(), windows.end(), is_full)) return nullptr;
  if (is_made_ && std::equal(windows.begin(), windows.end(), windows_.begin(), windows_.end())) return &plan_;
  std::copy(windows.begin(), windows.end(), windows_.begin());
  is_made_ = true;
  plan_.kv_list.clear();
  plan_.row_begin.assign(1, 0);
  for (int64_t sample = 0; sample < batch_; ++sample) {
    for (const TileWindow& window : windows) AppendHead(window);
  }
  return &plan_;
}

void WindowBlocks::AppendHead(const TileWindow& window) noexcept {
  std::vector<int32_t>& list = plan_.kv_list;
  const auto& [t, h, w] = tiles_.axes;
  for (int32_t block = 0; block < tiles_.blocks(); ++block) {
    if (block >= tiles_.tiles) {
      AppendAscending(list, 0, tiles_.blocks());
    } else {
      const TileRange seen_t = SeenTiles(block / (h.tiles() * w.tiles()), t.tiles(), window[0]);
      const TileRange seen_h = SeenTiles(block / w.tiles() % h.tiles(), h.tiles(), window[1]);
      const TileRange seen_w = SeenTiles(block % w.tiles(), w.tiles(), window[2]);
      for (int64_t it = seen_t.first; it < seen_t.end; ++it) {
        for (int64_t ih = seen_h.first; ih < seen_h.end; ++ih) {
          const int64_t row = (it * h.tiles() + ih) * w.tiles();
          AppendAscending(list, row + seen_w.first, row + seen_w.end);
        }
      }
      AppendAscending(list, tiles_.tiles, tiles_.blocks());
    }
    TESSERA_CHECK(list.size() <= list.capacity());
    plan_.row_begin.push_back(static_cast<int64_t>(list.size()));
  }
}

}  // namespace tessera
