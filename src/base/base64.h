// Base64 (RFC 4648) for bytes embedded in text.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace tessera {

std::string EncodeBase64(std::span<const uint8_t> bytes);  // with padding, without line breaks

}  // namespace tessera
