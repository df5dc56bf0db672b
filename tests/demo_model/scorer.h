// Does a picture show what its caption asks for? The definition of tools/demo_model/eval.py, in pixels, without any
// model.
#pragma once
#include <string>
#include <vector>

#include "demo_model/scene.h"
#include "media/picture.h"

namespace tessera::demo {

struct Score {
  bool color = true;       // enough of each object's silhouette has its colour
  bool place = true;       // area and centre of what is drawn there
  bool shape = true;       // the best of all shape templates is the asked one
  bool background = true;  // the rest of the picture
  bool satisfied() const noexcept { return color && place && background; }
  bool strict() const noexcept { return satisfied() && shape; }
  bool operator==(const Score&) const = default;
};

// `picture` is square.
Score ScorePicture(const Picture& picture, const Scene& scene);

// Shares in percent over all pictures and by kind of scene, as a table of text.
struct ScoredScene {
  Scene scene;
  Score score;
};
double Percent(const std::vector<ScoredScene>& scored, bool (*holds)(const Score&));
std::string ScoreTable(const std::vector<ScoredScene>& scored);

}  // namespace tessera::demo
