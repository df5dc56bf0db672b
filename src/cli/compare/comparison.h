// What `tessera compare` made with every backend, and how far it is from the first one's.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "attention/layer.h"
#include "media/film_metrics.h"
#include "pipeline/pipeline.h"

namespace tessera {

// One column of a comparison.
struct ComparedBackend {
  std::string label;                    // unique
  std::string backend;                  // as --attention-backend takes it
  std::string config;                   // as it was given
  std::string refused{};                // why it could not serve; such a column has no pictures
  std::vector<MadePicture> pictures{};  // prompts outermost, the same order in every column
  std::vector<AttentionRecord> attention{};
  double seconds = 0;  // of the whole job, without a warm-up
};

struct Comparison {
  std::string model;  // empty: the columns are files that were there, one picture or film each
  std::vector<std::string> prompts;
  std::vector<uint64_t> seeds;
  std::vector<ComparedBackend> columns;  // the first is the reference
  double frames_per_second = 16;         // of films
};

bool HasFilms(const Comparison& comparison) noexcept;

// One picture (or film: means over its frames) against the reference's with the same noise.
struct PictureScore {
  bool identical = false;  // every frame
  double psnr = 0;         // dB, mean over the frames that differ; infinite when identical
  double ssim = 1;
  double latents_rel_l1 = 0;
  double temporal_difference = 0;  // as FilmMetrics says, mean over the frames after the first
  FilmMetrics frames{};
};

struct BackendScore {
  std::vector<PictureScore> pictures;
  int64_t identical = 0;  // pictures
  double psnr = 0;        // mean over the pictures that differ; infinite when none does
  double ssim = 1;        // means over all pictures
  double latents_rel_l1 = 0;
  double temporal_difference = 0;
  double seconds = 0, denoising_seconds = 0;
  double speedup = 1, denoising_speedup = 1;  // the reference's time / this one's
  double density = 1;                         // of the transformer's attention, mean over its calls
};

// Of every column; of refused ones without pictures.
std::vector<BackendScore> Score(const Comparison& comparison);

nlohmann::ordered_json ToJson(const Comparison& comparison, const std::vector<BackendScore>& scores);
std::string ToTable(const Comparison& comparison, const std::vector<BackendScore>& scores);
std::string FormatPsnr(double psnr);  // "31.42", "inf"

}  // namespace tessera
