#include "cli/compare/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "attention/report.h"
#include "tensor/difference.h"

namespace tessera {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Mean of the finite values; infinite when there is none.
class FiniteMean {
 public:
  void Add(double value) {
    if (!std::isfinite(value)) return;
    sum_ += value;
    ++count_;
  }
  double Value() const { return count_ == 0 ? kInfinity : sum_ / static_cast<double>(count_); }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

double LatentsError(const Tensor& latents, const Tensor& reference) {
  if (!latents.defined() || !reference.defined()) return 0;
  const Tensor values = latents.To(DType::kF32), wanted = reference.To(DType::kF32);
  Difference difference;
  for (int64_t i = 0; i < values.numel(); ++i) {
    difference.Add(static_cast<double>(values.data<float>()[i]), static_cast<double>(wanted.data<float>()[i]));
  }
  return difference.rel_l1();
}

PictureScore ScorePicture(const MadePicture& picture, const MadePicture& reference) {
  PictureScore score;
  score.frames = CompareFilms(picture.frames, reference.frames);
  FiniteMean psnr;
  for (const double value : score.frames.psnr) psnr.Add(value);
  double ssim = 0;
  for (const double value : score.frames.ssim) ssim += value;
  score.psnr = psnr.Value();
  score.identical = score.psnr == kInfinity;
  score.ssim = ssim / static_cast<double>(picture.frames.size());
  score.temporal_difference = score.frames.MeanTemporalDifference();
  score.latents_rel_l1 = LatentsError(picture.latents, reference.latents);
  return score;
}

double DensityOf(const ComparedBackend& column) {
  double density = 0;
  int64_t calls = 0;
  for (const AttentionRecord& record : column.attention) {
    if (!record.site.component.starts_with("transformer")) continue;
    density += record.density * static_cast<double>(record.calls);
    calls += record.calls;
  }
  return calls == 0 ? 1 : density / static_cast<double>(calls);
}

BackendScore ScoreColumn(const ComparedBackend& column, const ComparedBackend& reference) {
  BackendScore score;
  if (column.pictures.empty()) return score;
  FiniteMean psnr;
  double ssim = 0, latents = 0, temporal = 0;
  for (size_t i = 0; i < column.pictures.size(); ++i) {
    const PictureScore& picture = score.pictures.emplace_back(ScorePicture(column.pictures[i], reference.pictures[i]));
    psnr.Add(picture.psnr);
    ssim += picture.ssim;
    latents += picture.latents_rel_l1;
    temporal += picture.temporal_difference;
    score.identical += picture.identical ? 1 : 0;
    score.denoising_seconds += column.pictures[i].denoising_seconds;
  }
  score.psnr = psnr.Value();
  score.ssim = ssim / static_cast<double>(column.pictures.size());
  score.latents_rel_l1 = latents / static_cast<double>(column.pictures.size());
  score.temporal_difference = temporal / static_cast<double>(column.pictures.size());
  score.seconds = column.seconds;
  score.density = DensityOf(column);
  return score;
}

Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

// The series of a film, one value per frame; null for equal frames' PSNR and for the first frame, which follows none.
Json FramesToJson(const FilmMetrics& frames) {
  Json psnr = Json::array(), temporal = Json::array();
  for (const double value : frames.psnr) psnr.push_back(Finite(value));
  for (const double value : frames.temporal_difference)
    temporal.push_back(temporal.empty() ? Json(nullptr) : Json(value));
  return {{"psnr", psnr}, {"ssim", frames.ssim}, {"temporal_difference", temporal}};
}

Json PictureToJson(const Comparison& comparison, const MadePicture& made, const PictureScore& score) {
  Json row = Json::object();
  const bool was_made = !comparison.model.empty();
  if (was_made) row = {{"prompt", comparison.prompts[made.prompt]}, {"seed", made.seed}};
  row["frames"] = made.frames.size();
  row["identical"] = score.identical;
  row["psnr"] = Finite(score.psnr);
  row["ssim"] = score.ssim;
  if (was_made) {
    row["latents_rel_l1"] = Finite(score.latents_rel_l1);
    row["denoising_seconds"] = made.denoising_seconds;
    row["seconds"] = made.seconds;
  }
  if (made.frames.size() > 1) {
    row["temporal_difference"] = score.temporal_difference;
    row["per_frame"] = FramesToJson(score.frames);
  }
  return row;
}

void AddRun(const ComparedBackend& column, const BackendScore& score, Json& json) {
  json["latents_rel_l1"] = Finite(score.latents_rel_l1);
  json["identical_pictures"] = score.identical;
  json["seconds"] = score.seconds;
  json["denoising_seconds"] = score.denoising_seconds;
  json["speedup"] = score.speedup;
  json["denoising_speedup"] = score.denoising_speedup;
  json["density"] = score.density;
  json["attention"] = RecordsToJson(column.attention);
}

Json ColumnToJson(const Comparison& comparison, const ComparedBackend& column, const BackendScore& score) {
  Json json = {{"label", column.label}};
  const bool was_made = !comparison.model.empty();
  if (was_made) json.update({{"backend", column.backend}, {"config", column.config}});
  if (!column.refused.empty()) {
    json["refused"] = column.refused;
    return json;
  }
  json["psnr"] = Finite(score.psnr);
  json["ssim"] = score.ssim;
  if (HasFilms(comparison)) json["temporal_difference"] = score.temporal_difference;
  if (was_made) AddRun(column, score, json);
  Json rows = Json::array();
  for (size_t i = 0; i < score.pictures.size(); ++i) {
    rows.push_back(PictureToJson(comparison, column.pictures[i], score.pictures[i]));
  }
  json["pictures"] = std::move(rows);
  return json;
}

// What a row of the table says after the label: scores, then time.
std::string ScoreCells(const Comparison& comparison, const BackendScore& score) {
  std::string text = fmt::format("{:>10}{:>9.4f}", FormatPsnr(score.psnr), score.ssim);
  if (HasFilms(comparison)) text += fmt::format("{:>10.3f}", score.temporal_difference);
  if (comparison.model.empty()) return text;
  return text + fmt::format("{:>12.4g}{:>9.3f}{:>11.2f}{:>8.2f} x{:>10.2f} x", score.latents_rel_l1, score.density,
                            score.seconds, score.speedup, score.denoising_speedup);
}

std::string HeadCells(const Comparison& comparison) {
  std::string text = fmt::format("{:>10}{:>9}", "PSNR dB", "SSIM");
  if (HasFilms(comparison)) text += fmt::format("{:>10}", "temporal");
  if (comparison.model.empty()) return text;
  return text +
         fmt::format("{:>12}{:>9}{:>11}{:>10}{:>12}", "latents L1", "density", "time s", "speed-up", "denoising");
}

}  // namespace

std::vector<BackendScore> Score(const Comparison& comparison) {
  std::vector<BackendScore> scores;
  for (const ComparedBackend& column : comparison.columns) {
    BackendScore score = ScoreColumn(column, comparison.columns.front());
    const BackendScore& first = scores.empty() ? score : scores.front();
    if (score.seconds > 0) score.speedup = first.seconds / score.seconds;
    if (score.denoising_seconds > 0) score.denoising_speedup = first.denoising_seconds / score.denoising_seconds;
    scores.push_back(std::move(score));
  }
  return scores;
}

bool HasFilms(const Comparison& comparison) noexcept {
  const auto& pictures = comparison.columns.front().pictures;
  return std::any_of(pictures.begin(), pictures.end(), [](const MadePicture& made) { return made.frames.size() > 1; });
}

nlohmann::ordered_json ToJson(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  const bool was_made = !comparison.model.empty();
  Json json = Json::object();
  if (was_made) {
    json = {{"model", comparison.model}, {"prompts", comparison.prompts}, {"seeds", comparison.seeds}};
  }
  json["reference"] = comparison.columns.front().label;
  const char* columns = was_made ? "backends" : "films";
  json[columns] = Json::array();
  for (size_t i = 0; i < scores.size(); ++i) {
    json[columns].push_back(ColumnToJson(comparison, comparison.columns[i], scores[i]));
  }
  return json;
}

std::string FormatPsnr(double psnr) { return std::isfinite(psnr) ? fmt::format("{:.2f}", psnr) : "inf"; }

std::string ToTable(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  size_t width = 8;
  for (const ComparedBackend& column : comparison.columns) width = std::max(width, column.label.size());
  const char* head = comparison.model.empty() ? "film" : "backend";
  std::string text = fmt::format("{:<{}}{}\n", head, width, HeadCells(comparison));
  for (size_t i = 0; i < scores.size(); ++i) {
    const ComparedBackend& column = comparison.columns[i];
    text += column.refused.empty() ? fmt::format("{:<{}}{}\n", column.label, width, ScoreCells(comparison, scores[i]))
                                   : fmt::format("{:<{}}  refused: {}\n", column.label, width, column.refused);
  }
  return text;
}

}  // namespace tessera
