// Text for web pages.
#pragma once
#include <string>
#include <string_view>

namespace tessera {

// As content or as a quoted attribute of HTML and SVG.
std::string EscapeMarkup(std::string_view text);

}  // namespace tessera
