#include "cli/compare/film_player.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/base64.h"
#include "cli/compare/markup.h"

namespace tessera {
namespace {

constexpr int64_t kLargestFrame = 512;  // pixels per side
constexpr int kFrameQuality = 90;

// Frames are swapped by hand: no browser keeps several films in step, and none lets a page seek in an animated picture.
constexpr std::string_view kScript = R"(<script>
for (const player of document.querySelectorAll('.player')) {
  const clips = [...player.querySelectorAll('.clip')].map(clip => [...clip.querySelectorAll('img')]);
  const marks = player.querySelectorAll('.now');
  const button = player.querySelector('button'), slider = player.querySelector('input');
  const count = clips[0].length, step = 1000 / Number(player.dataset.rate);
  let shown = 0, timer = 0;
  const show = frame => {
    for (const clip of clips) { clip[shown].hidden = true; clip[frame].hidden = false; }
    for (const mark of marks) mark.setAttribute('transform', `translate(${frame * Number(mark.dataset.step)} 0)`);
    shown = frame;
    slider.value = frame;
    player.querySelector('output').textContent = `frame ${frame} of ${count}`;
  };
  const stop = () => { clearInterval(timer); timer = 0; button.textContent = 'Play'; };
  button.onclick = () => {
    if (timer) return stop();
    timer = setInterval(() => show((shown + 1) % count), step);
    button.textContent = 'Pause';
  };
  slider.oninput = () => { stop(); show(Number(slider.value)); };
}
</script>
)";

Picture Shrunk(const Picture& picture) {
  const int64_t side = std::max(picture.height, picture.width);
  if (side <= kLargestFrame) return picture;
  const auto scaled = [&](int64_t length) { return std::max<int64_t>(length * kLargestFrame / side, 1); };
  return Resize(picture, scaled(picture.height), scaled(picture.width), Resample::kLanczos);
}

std::string FrameImage(const Picture& picture, size_t index) {
  const PictureEncoding encoding{PictureFormat::kWebp, kFrameQuality, {}};
  return fmt::format("<img alt=\"frame {}\"{} decoding=\"sync\" src=\"data:image/webp;base64,{}\">\n", index,
                     index == 0 ? "" : " hidden", EncodeBase64(EncodePicture(Shrunk(picture), encoding)));
}

std::string Clip(const ComparedBackend& column, const PictureScore& score, size_t index) {
  std::string text = "<figure><div class=\"clip\">";
  const auto& frames = column.pictures[index].frames;
  for (size_t t = 0; t < frames.size(); ++t) text += FrameImage(frames[t], t);
  return text +
         fmt::format("</div><figcaption>{}: PSNR {}, SSIM {:.4f}, temporal difference {:.3f}</figcaption></figure>\n",
                     EscapeMarkup(column.label), FormatPsnr(score.psnr), score.ssim, score.temporal_difference);
}

}  // namespace

std::string FilmPlayer(const Comparison& comparison, const std::vector<BackendScore>& scores, size_t index) {
  const size_t frames = comparison.columns.front().pictures[index].frames.size();
  std::string text = fmt::format("<div class=\"player\" data-rate=\"{:g}\">\n", comparison.frames_per_second);
  for (size_t column = 0; column < scores.size(); ++column) {
    if (scores[column].pictures.empty()) continue;
    text += Clip(comparison.columns[column], scores[column].pictures[index], index);
  }
  text += fmt::format(
      "<p><button type=\"button\">Play</button> <input type=\"range\" min=\"0\" max=\"{}\" value=\"0\" "
      "aria-label=\"frame\"> <output>frame 0 of {}</output></p>\n",
      frames - 1, frames);
  return text + FilmCurves(comparison, scores, index) + "</div>\n";
}

std::string FilmPlayerScript() { return std::string(kScript); }

}  // namespace tessera
