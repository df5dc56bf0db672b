// What still and animated WebP share.
#pragma once
#include <webp/encode.h>
#include <webp/mux.h>

#include <cstdint>
#include <string>
#include <vector>

namespace tessera {

WebPConfig MakeWebpConfig(int quality);  // 1..99, 100: lossless
// A whole WebP with an EXIF chunk put in; throws Error{kMemory}.
std::vector<uint8_t> WithExif(const WebPData& webp, const std::string& exif);

}  // namespace tessera
