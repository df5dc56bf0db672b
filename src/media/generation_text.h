// How a picture was made, as text inside the picture: the `parameters` line other programs show, and our own JSON that
// can be read back to make the picture again.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace tessera {

struct GenerationText {
  std::string prompt, negative_prompt;
  std::string model;    // name or folder as the user gave it
  std::string sampler;  // scheduler class
  int64_t steps = 0, seed = 0;
  int64_t height = 0, width = 0;
  double guidance_scale = 0;
  std::string version;                      // "tessera 0.1.0"
  std::map<std::string, std::string> more;  // further settings by flag name, as typed: "attention-backend" -> "fa"
};

// {"parameters": ..., "tessera": ...} for PictureEncoding::text.
std::map<std::string, std::string> MakePictureText(const GenerationText& generation);

// Reads the `tessera` key back. `name` is the picture in messages. Throws Error{kFormat}: no such key, not our JSON,
// fields of a wrong type or range. Unknown fields are ignored: a later version may have written them.
GenerationText ParsePictureText(const std::map<std::string, std::string>& text, std::string_view name);

}  // namespace tessera
