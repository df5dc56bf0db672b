#include "cli/compare/html_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/base64.h"
#include "cli/compare/contact_sheet.h"
#include "cli/compare/film_player.h"
#include "cli/compare/markup.h"
#include "media/picture_metrics.h"

namespace tessera {
namespace {

constexpr int64_t kLargestPng = 256;  // pixels per side; larger pictures are embedded as JPEG
constexpr int kJpegQuality = 92;
constexpr size_t kMostRows = 64;  // of pictures

constexpr std::string_view kHead = R"(<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Attention backends compared</title>
<style>
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1em 0 2em; }
th, td { padding: .35em .8em; border-bottom: 1px solid #ddd; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td.refused { text-align: left; color: #888; }
figure { display: inline-block; margin: 0 1em 1em 0; }
figure img { display: block; max-width: 320px; margin-bottom: 4px; }
figcaption { font-size: 13px; color: #444; }
.clip img[hidden] { display: none; }
.player input { width: 22em; vertical-align: middle; }
.curves svg { font-size: 11px; margin-right: 1em; }
.now { stroke: #000; stroke-opacity: .35; }
h2 { font-size: 1.1em; margin: 1.6em 0 .6em; }
</style></head><body>
)";

std::string Image(const Picture& picture, const std::string& description) {
  const bool small = picture.height <= kLargestPng && picture.width <= kLargestPng;
  const PictureEncoding encoding{small ? PictureFormat::kPng : PictureFormat::kJpeg, kJpegQuality, {}};
  return fmt::format(R"(<img alt="{}" src="data:image/{};base64,{}">)", EscapeMarkup(description),
                     small ? "png" : "jpeg", EncodeBase64(EncodePicture(picture, encoding)));
}

// Cells of times, for what was made here.
std::string RunCells(const BackendScore& score) {
  return fmt::format("<td>{:.4g}</td><td>{:.3f}</td><td>{:.2f}</td><td>{:.2f}</td><td>{:.2f}</td>",
                     score.latents_rel_l1, score.density, score.seconds, score.speedup, score.denoising_speedup);
}

std::string TableRow(const Comparison& comparison, const ComparedBackend& column, const BackendScore& score) {
  const std::string config =
      column.config.empty() ? "" : fmt::format("<br><small>{}</small>", EscapeMarkup(column.config));
  const std::string name = fmt::format("<td>{}{}</td>", EscapeMarkup(column.label), config);
  if (!column.refused.empty()) {
    return fmt::format("<tr>{}<td class=\"refused\" colspan=\"8\">refused: {}</td></tr>\n", name,
                       EscapeMarkup(column.refused));
  }
  const std::string temporal = HasFilms(comparison) ? fmt::format("<td>{:.3f}</td>", score.temporal_difference) : "";
  return fmt::format("<tr>{}<td>{}</td><td>{:.4f}</td>{}{}</tr>\n", name, FormatPsnr(score.psnr), score.ssim, temporal,
                     comparison.model.empty() ? "" : RunCells(score));
}

std::string Table(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  const bool was_made = !comparison.model.empty();
  std::string text = fmt::format("<table><tr><th>{}</th><th>PSNR dB</th><th>SSIM</th>", was_made ? "backend" : "film");
  if (HasFilms(comparison)) text += "<th>temporal difference</th>";
  if (was_made) {
    text += "<th>latents rel. L1</th><th>density</th><th>time s</th><th>speed-up</th><th>of denoising</th>";
  }
  text += "</tr>\n";
  for (size_t i = 0; i < scores.size(); ++i) text += TableRow(comparison, comparison.columns[i], scores[i]);
  return text + "</table>\n";
}

std::string Figure(const Comparison& comparison, const BackendScore& score, size_t column, size_t row) {
  const MadePicture& made = comparison.columns[column].pictures[row];
  const MadePicture& reference = comparison.columns.front().pictures[row];
  const std::string& label = comparison.columns[column].label;
  std::string text = "<figure>" + Image(made.frames.front(), label);
  if (column > 0) {
    text += Image(DifferencePicture(made.frames.front(), reference.frames.front(), kDifferenceGain),
                  "difference of " + label);
  }
  return text + fmt::format("<figcaption>{}: PSNR {}, SSIM {:.4f}</figcaption></figure>\n", EscapeMarkup(label),
                            FormatPsnr(score.pictures[row].psnr), score.pictures[row].ssim);
}

std::string Heading(const Comparison& comparison) {
  const std::string reference = EscapeMarkup(comparison.columns.front().label);
  if (comparison.model.empty()) {
    return fmt::format("<h1>Films compared</h1>\n<p>PSNR, SSIM and temporal difference against {}.</p>\n", reference);
  }
  return fmt::format(
      "<h1>Attention backends compared</h1>\n<p>Model {}; the same noise through every backend; PSNR, SSIM and latents "
      "against {}. Below each picture: |difference| x {}.</p>\n",
      EscapeMarkup(comparison.model), reference, kDifferenceGain);
}

std::string Row(const Comparison& comparison, const std::vector<BackendScore>& scores, size_t row) {
  const MadePicture& first = comparison.columns.front().pictures[row];
  std::string html;
  if (!comparison.model.empty()) {
    html = fmt::format("<h2>{} (seed {})</h2>\n", EscapeMarkup(comparison.prompts[first.prompt]), first.seed);
  }
  if (first.frames.size() > 1) return html + FilmPlayer(comparison, scores, row);
  for (size_t column = 0; column < scores.size(); ++column) {
    if (!scores[column].pictures.empty()) html += Figure(comparison, scores[column], column, row);
  }
  return html;
}

}  // namespace

std::string HtmlReport(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  const auto& reference = comparison.columns.front();
  std::string html(kHead);
  html += Heading(comparison);
  html += Table(comparison, scores);
  if (HasFilms(comparison)) {
    html +=
        "<p>Temporal difference: the mean of |change from the frame before - the reference's change| over pixels and "
        "channels, in grey levels of 255.</p>\n";
  }
  const size_t rows = std::min(reference.pictures.size(), kMostRows);
  for (size_t row = 0; row < rows; ++row) html += Row(comparison, scores, row);
  if (rows < reference.pictures.size()) {
    html += fmt::format("<p>{} of {} pictures are shown.</p>\n", rows, reference.pictures.size());
  }
  if (HasFilms(comparison)) html += FilmPlayerScript();
  return html + "</body></html>\n";
}

}  // namespace tessera
