#include "media/bar_chart.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "media/drawing.h"

namespace tessera {
namespace {

constexpr int kScale = 2;
constexpr int64_t kMargin = 16, kBarHeight = 22, kGap = 8, kLongestBar = 600;
constexpr std::array<Colour, 6> kColours = {
    {{49, 104, 163}, {214, 126, 44}, {70, 140, 80}, {178, 60, 66}, {122, 92, 160}, {110, 110, 110}}};

int64_t LabelWidth(const std::vector<BarChart>& charts) {
  int64_t width = 0;
  for (const BarChart& chart : charts) {
    for (const Bar& bar : chart.bars) width = std::max(width, TextWidth(bar.label, kScale));
  }
  return width + kGap;
}

int64_t FigureWidth(const std::vector<BarChart>& charts) {
  int64_t width = 0;
  for (const BarChart& chart : charts) {
    for (const Bar& bar : chart.bars) width = std::max(width, TextWidth(bar.figure, kScale));
  }
  return width + kGap;
}

int64_t HeightOf(const BarChart& chart) {
  return TextHeight(kScale) + kGap + static_cast<int64_t>(chart.bars.size()) * (kBarHeight + kGap) + kMargin;
}

double LargestOf(const BarChart& chart) {
  double largest = 0;
  for (const Bar& bar : chart.bars) largest = std::max(largest, bar.value);
  return largest;
}

void DrawChart(Picture& picture, const BarChart& chart, int64_t top, int64_t label_width) {
  DrawText(picture, {top, kMargin}, CutToWidth(chart.title, picture.width - 2 * kMargin, kScale), {kBlack, kScale});
  const double largest = LargestOf(chart);
  const int64_t text_drop = (kBarHeight - TextHeight(kScale)) / 2 + 2;
  top += TextHeight(kScale) + kGap;
  for (size_t i = 0; i < chart.bars.size(); ++i, top += kBarHeight + kGap) {
    const Bar& bar = chart.bars[i];
    const int64_t left = kMargin + label_width;
    const double share = largest > 0 ? bar.value / largest : 0;
    const auto length = std::max<int64_t>(std::llround(share * kLongestBar), 1);
    DrawText(picture, {top + text_drop, kMargin}, bar.label, {kBlack, kScale});
    FillRectangle(picture, {{top, left}, kBarHeight, length}, kColours[i % kColours.size()]);
    DrawText(picture, {top + text_drop, left + length + kGap}, bar.figure, {kBlack, kScale});
  }
}

}  // namespace

Picture DrawBarCharts(const std::vector<BarChart>& charts) {
  int64_t height = 2 * kMargin;
  for (const BarChart& chart : charts) height += HeightOf(chart);
  const int64_t label_width = LabelWidth(charts);
  Picture picture = FilledPicture(height, 2 * kMargin + label_width + kLongestBar + FigureWidth(charts), kWhite);
  int64_t top = kMargin;
  for (const BarChart& chart : charts) {
    DrawChart(picture, chart, top, label_width);
    top += HeightOf(chart);
  }
  return picture;
}

}  // namespace tessera
