#include "cli/compare/html_report.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/base64.h"
#include "cli/compare/contact_sheet.h"
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
h2 { font-size: 1.1em; margin: 1.6em 0 .6em; }
</style></head><body>
)";

std::string Escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string Image(const Picture& picture, const std::string& description) {
  const bool small = picture.height <= kLargestPng && picture.width <= kLargestPng;
  const PictureEncoding encoding{small ? PictureFormat::kPng : PictureFormat::kJpeg, kJpegQuality, {}};
  return fmt::format(R"(<img alt="{}" src="data:image/{};base64,{}">)", Escaped(description), small ? "png" : "jpeg",
                     EncodeBase64(EncodePicture(picture, encoding)));
}

std::string TableRow(const ComparedBackend& column, const BackendScore& score) {
  const std::string config = column.config.empty() ? "" : fmt::format("<br><small>{}</small>", Escaped(column.config));
  const std::string name = fmt::format("<td>{}{}</td>", Escaped(column.label), config);
  if (!column.refused.empty()) {
    return fmt::format("<tr>{}<td class=\"refused\" colspan=\"7\">refused: {}</td></tr>\n", name,
                       Escaped(column.refused));
  }
  return fmt::format(
      "<tr>{}<td>{}</td><td>{:.4f}</td><td>{:.4g}</td><td>{:.3f}</td><td>{:.2f}</td><td>{:.2f}</td><td>{:.2f}</td></"
      "tr>\n",
      name, FormatPsnr(score.psnr), score.ssim, score.latents_rel_l1, score.density, score.seconds, score.speedup,
      score.denoising_speedup);
}

std::string Table(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  std::string text =
      "<table><tr><th>backend</th><th>PSNR dB</th><th>SSIM</th><th>latents rel. L1</th><th>density</th>"
      "<th>time s</th><th>speed-up</th><th>of denoising</th></tr>\n";
  for (size_t i = 0; i < scores.size(); ++i) text += TableRow(comparison.columns[i], scores[i]);
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
  return text + fmt::format("<figcaption>{}: PSNR {}, SSIM {:.4f}</figcaption></figure>\n", Escaped(label),
                            FormatPsnr(score.pictures[row].psnr), score.pictures[row].ssim);
}

}  // namespace

std::string HtmlReport(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  const auto& reference = comparison.columns.front();
  std::string html(kHead);
  html += fmt::format(
      "<h1>Attention backends compared</h1>\n<p>Model {}; the same noise through every backend; PSNR, SSIM and latents "
      "against {}. Below each picture: |difference| x {}.</p>\n",
      Escaped(comparison.model), Escaped(reference.label), kDifferenceGain);
  html += Table(comparison, scores);
  const size_t rows = std::min(reference.pictures.size(), kMostRows);
  for (size_t row = 0; row < rows; ++row) {
    const MadePicture& first = reference.pictures[row];
    html += fmt::format("<h2>{} (seed {})</h2>\n", Escaped(comparison.prompts[first.prompt]), first.seed);
    for (size_t column = 0; column < scores.size(); ++column) {
      if (!scores[column].pictures.empty()) html += Figure(comparison, scores[column], column, row);
    }
  }
  if (rows < reference.pictures.size()) {
    html += fmt::format("<p>{} of {} pictures are shown.</p>\n", rows, reference.pictures.size());
  }
  return html + "</body></html>\n";
}

}  // namespace tessera
