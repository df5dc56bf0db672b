// Character references of HTML: &amp; &#39; &#x27;.
#pragma once
#include <string>
#include <string_view>

namespace tessera {

// As a browser reads them (HTML5 section 13.2.5.72, Python's html.unescape): the semicolon may be missing, and then
// the longest known name counts. Valid UTF-8 in and out.
std::string UnescapeHtml(std::string_view text);

// Only references that end in a semicolon and are known as a whole; also names in capitals where those have no meaning
// of their own (&EACUTE;).
std::string UnescapeClosedHtml(std::string_view text);

}  // namespace tessera
