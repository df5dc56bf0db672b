// Scores over the frames of a film as inline SVG.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "cli/compare/film_player.h"
#include "cli/compare/markup.h"

namespace tessera {
namespace {

constexpr double kLeft = 52, kTop = 22, kWidth = 420, kHeight = 110;
constexpr std::array<std::string_view, 8> kColours = {"#1f77b4", "#d62728", "#2ca02c", "#9467bd",
                                                      "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f"};

struct Curve {
  std::string label;
  std::string_view colour;
  std::vector<double> values;  // one per frame; not finite: a gap
};

struct Range {
  double least = std::numeric_limits<double>::infinity(), most = -least;
};

Range RangeOf(const std::vector<Curve>& curves) {
  Range range;
  for (const Curve& curve : curves) {
    for (const double value : curve.values) {
      if (!std::isfinite(value)) continue;
      range.least = std::min(range.least, value);
      range.most = std::max(range.most, value);
    }
  }
  if (!std::isfinite(range.least)) return {0, 1};  // nothing but gaps
  if (range.most - range.least < 1e-9) range.least -= 0.5, range.most += 0.5;
  return range;
}

double StepOf(size_t frames) { return frames < 2 ? 0 : kWidth / static_cast<double>(frames - 1); }

// A line broken at gaps; every value is a dot as well, so that one between two gaps is seen.
std::string Line(const Curve& curve, Range range) {
  std::string path, dots;
  bool drawing = false;
  for (size_t t = 0; t < curve.values.size(); ++t) {
    const double value = curve.values[t];
    if (!std::isfinite(value)) {
      drawing = false;
      continue;
    }
    const double x = kLeft + static_cast<double>(t) * StepOf(curve.values.size());
    const double y = kTop + kHeight * (1 - (value - range.least) / (range.most - range.least));
    path += fmt::format("{}{:.1f} {:.1f}", drawing ? "L" : "M", x, y);
    dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"1.8\" fill=\"{}\"/>", x, y, curve.colour);
    drawing = true;
  }
  return fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"/>{}", path, curve.colour, dots);
}

std::string Chart(std::string_view title, const std::vector<Curve>& curves) {
  const Range range = RangeOf(curves);
  std::string text = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" width=\"{}\" role=\"img\" aria-label=\"{}\"><text x=\"{}\" y=\"14\">{}</text>\n",
      kLeft + kWidth + 12, kTop + kHeight + 20, kLeft + kWidth + 12, title, kLeft, title);
  text += fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"#ccc\"/>\n", kLeft,
                      kTop, kWidth, kHeight);
  text += fmt::format("<text x=\"4\" y=\"{}\">{:.4g}</text><text x=\"4\" y=\"{}\">{:.4g}</text>\n", kTop + 9,
                      range.most, kTop + kHeight, range.least);
  for (const Curve& curve : curves) text += Line(curve, range) + "\n";
  const size_t frames = curves.empty() ? 1 : curves.front().values.size();
  text += fmt::format("<text x=\"{}\" y=\"{}\">frame 0</text><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
                      kLeft, kTop + kHeight + 14, kLeft + kWidth, kTop + kHeight + 14, frames - 1);
  text += fmt::format("<line class=\"now\" data-step=\"{:.4f}\" x1=\"{}\" x2=\"{}\" y1=\"{}\" y2=\"{}\"/></svg>\n",
                      StepOf(frames), kLeft, kLeft, kTop, kTop + kHeight);
  return text;
}

struct Measure {
  std::string_view title;
  std::vector<double> FilmMetrics::*values;
};

}  // namespace

std::string FilmCurves(const Comparison& comparison, const std::vector<BackendScore>& scores, size_t index) {
  static constexpr std::array<Measure, 3> kMeasures = {
      {{"PSNR, dB (a gap: equal frames)", &FilmMetrics::psnr},
       {"SSIM", &FilmMetrics::ssim},
       {"temporal difference, grey levels", &FilmMetrics::temporal_difference}}};
  std::string legend, charts;
  for (const Measure& measure : kMeasures) {
    std::vector<Curve> curves;
    for (size_t column = 1; column < scores.size(); ++column) {
      if (scores[column].pictures.empty()) continue;
      std::vector<double> values = scores[column].pictures[index].frames.*measure.values;
      if (measure.values == &FilmMetrics::temporal_difference) {
        values.front() = std::numeric_limits<double>::quiet_NaN();
      }
      curves.push_back({comparison.columns[column].label, kColours[(column - 1) % kColours.size()], std::move(values)});
    }
    if (curves.empty()) return "";
    charts += Chart(measure.title, curves);
    if (!legend.empty()) continue;
    for (const Curve& curve : curves) {
      legend += fmt::format("<span style=\"color:{}\">&#9632; {}</span> ", curve.colour, EscapeMarkup(curve.label));
    }
  }
  return fmt::format("<p>{}</p>\n<div class=\"curves\">{}</div>\n", legend, charts);
}

}  // namespace tessera
