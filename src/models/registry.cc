#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/autoencoder.h"
#include "models/text_encoder.h"
#include "models/vision_encoder.h"

namespace tessera {

#define X(name) extern const TextEncoderArchitecture name##_text_encoder;
#include "text_encoder.inc"
#undef X

#define X(name) extern const AutoencoderArchitecture name##_autoencoder;
#include "autoencoder.inc"
#undef X

#define X(name) extern const VisionEncoderArchitecture name##_vision_encoder;
#include "vision_encoder.inc"
#undef X

namespace {

#define X(name) &name##_text_encoder,
constexpr auto kTextEncoders = std::to_array<const TextEncoderArchitecture*>({
#include "text_encoder.inc"
});
#undef X

#define X(name) &name##_autoencoder,
constexpr auto kAutoencoders = std::to_array<const AutoencoderArchitecture*>({
#include "autoencoder.inc"
});
#undef X

#define X(name) &name##_vision_encoder,
constexpr auto kVisionEncoders = std::to_array<const VisionEncoderArchitecture*>({
#include "vision_encoder.inc"
});
#undef X

// The architecture that lists `wanted` among its class names.
template <class Architectures>
const auto& FindByClass(const Architectures& architectures, std::string_view kind, std::string_view wanted) {
  std::vector<std::string> known;
  for (const auto* architecture : architectures) {
    for (const std::string& name : Split(architecture->class_names, ' ')) {
      if (name == wanted) return *architecture;
      known.push_back(name);
    }
  }
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{} class '{}' is not supported; supported: {}", kind, Printable(wanted), Join(known, ", ")));
}

}  // namespace

const TextEncoderArchitecture& FindTextEncoder(std::string_view class_name) {
  return FindByClass(kTextEncoders, "text encoder", class_name);
}

const AutoencoderArchitecture& FindAutoencoder(std::string_view class_name) {
  return FindByClass(kAutoencoders, "autoencoder", class_name);
}

const VisionEncoderArchitecture& FindVisionEncoder(std::string_view class_name) {
  return FindByClass(kVisionEncoders, "vision encoder", class_name);
}

}  // namespace tessera
