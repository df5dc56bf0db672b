#include "cli/compare/comparison.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "attention/report.h"
#include "media/picture_metrics.h"
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
  const Tensor values = latents.To(DType::kF32), wanted = reference.To(DType::kF32);
  Difference difference;
  for (int64_t i = 0; i < values.numel(); ++i) {
    difference.Add(static_cast<double>(values.data<float>()[i]), static_cast<double>(wanted.data<float>()[i]));
  }
  return difference.rel_l1();
}

PictureScore ScorePicture(const MadePicture& picture, const MadePicture& reference) {
  PictureScore score;
  FiniteMean psnr;
  double ssim = 0;
  for (size_t frame = 0; frame < picture.frames.size(); ++frame) {
    psnr.Add(Psnr(picture.frames[frame], reference.frames[frame]));
    ssim += Ssim(picture.frames[frame], reference.frames[frame]);
  }
  score.psnr = psnr.Value();
  score.identical = score.psnr == kInfinity;
  score.ssim = ssim / static_cast<double>(picture.frames.size());
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
  double ssim = 0, latents = 0;
  for (size_t i = 0; i < column.pictures.size(); ++i) {
    const PictureScore& picture = score.pictures.emplace_back(ScorePicture(column.pictures[i], reference.pictures[i]));
    psnr.Add(picture.psnr);
    ssim += picture.ssim;
    latents += picture.latents_rel_l1;
    score.identical += picture.identical ? 1 : 0;
    score.denoising_seconds += column.pictures[i].denoising_seconds;
  }
  score.psnr = psnr.Value();
  score.ssim = ssim / static_cast<double>(column.pictures.size());
  score.latents_rel_l1 = latents / static_cast<double>(column.pictures.size());
  score.seconds = column.seconds;
  score.density = DensityOf(column);
  return score;
}

Json Finite(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json PicturesToJson(const Comparison& comparison, const ComparedBackend& column, const BackendScore& score) {
  Json rows = Json::array();
  for (size_t i = 0; i < score.pictures.size(); ++i) {
    const PictureScore& picture = score.pictures[i];
    rows.push_back({{"prompt", comparison.prompts[column.pictures[i].prompt]},
                    {"seed", column.pictures[i].seed},
                    {"frames", column.pictures[i].frames.size()},
                    {"identical", picture.identical},
                    {"psnr", Finite(picture.psnr)},
                    {"ssim", picture.ssim},
                    {"latents_rel_l1", Finite(picture.latents_rel_l1)},
                    {"denoising_seconds", column.pictures[i].denoising_seconds},
                    {"seconds", column.pictures[i].seconds}});
  }
  return rows;
}

Json ColumnToJson(const Comparison& comparison, const ComparedBackend& column, const BackendScore& score) {
  Json json = {{"label", column.label}, {"backend", column.backend}, {"config", column.config}};
  if (!column.refused.empty()) {
    json["refused"] = column.refused;
    return json;
  }
  json["psnr"] = Finite(score.psnr);
  json["ssim"] = score.ssim;
  json["latents_rel_l1"] = Finite(score.latents_rel_l1);
  json["identical_pictures"] = score.identical;
  json["seconds"] = score.seconds;
  json["denoising_seconds"] = score.denoising_seconds;
  json["speedup"] = score.speedup;
  json["denoising_speedup"] = score.denoising_speedup;
  json["density"] = score.density;
  json["pictures"] = PicturesToJson(comparison, column, score);
  json["attention"] = RecordsToJson(column.attention);
  return json;
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

nlohmann::ordered_json ToJson(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  Json json = {{"model", comparison.model},
               {"prompts", comparison.prompts},
               {"seeds", comparison.seeds},
               {"reference", comparison.columns.front().label},
               {"backends", Json::array()}};
  for (size_t i = 0; i < scores.size(); ++i) {
    json["backends"].push_back(ColumnToJson(comparison, comparison.columns[i], scores[i]));
  }
  return json;
}

std::string FormatPsnr(double psnr) { return std::isfinite(psnr) ? fmt::format("{:.2f}", psnr) : "inf"; }

std::string ToTable(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  size_t width = 8;
  for (const ComparedBackend& column : comparison.columns) width = std::max(width, column.label.size());
  std::string text = fmt::format("{:<{}}{:>10}{:>9}{:>12}{:>9}{:>11}{:>10}{:>12}\n", "backend", width, "PSNR dB",
                                 "SSIM", "latents L1", "density", "time s", "speed-up", "denoising");
  for (size_t i = 0; i < scores.size(); ++i) {
    const ComparedBackend& column = comparison.columns[i];
    const BackendScore& score = scores[i];
    text += column.refused.empty()
                ? fmt::format("{:<{}}{:>10}{:>9.4f}{:>12.4g}{:>9.3f}{:>11.2f}{:>8.2f} x{:>10.2f} x\n", column.label,
                              width, FormatPsnr(score.psnr), score.ssim, score.latents_rel_l1, score.density,
                              score.seconds, score.speedup, score.denoising_speedup)
                : fmt::format("{:<{}}  refused: {}\n", column.label, width, column.refused);
  }
  return text;
}

}  // namespace tessera
