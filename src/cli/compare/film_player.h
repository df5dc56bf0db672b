// Films of a comparison in a web page: frames side by side that play in step, and curves of their scores.
#pragma once
#include <string>

#include "cli/compare/comparison.h"

namespace tessera {

// Every frame of film `index` of every column as an embedded picture, a button, a slider and the curves.
std::string FilmPlayer(const Comparison& comparison, const std::vector<BackendScore>& scores, size_t index);
// What the players of a page need once, behind the last.
std::string FilmPlayerScript();

// PSNR, SSIM and temporal difference of film `index` over its frames, a curve per column but the first: inline SVG.
std::string FilmCurves(const Comparison& comparison, const std::vector<BackendScore>& scores, size_t index);

}  // namespace tessera
