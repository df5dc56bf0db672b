// The few EXIF fields tessera reads and writes (a TIFF block: CIPA DC-008, Exif 2.32).
#pragma once
#include <map>
#include <string>
#include <string_view>

namespace tessera {

// Text as EXIF: `parameters` becomes the user comment (UTF-16, big endian), every other key a member of a JSON object
// in the image description. Empty when there is no text.
std::string MakeExif(const std::map<std::string, std::string>& text);

// The inverse; also understands comments and descriptions of other programs ("description" when it is not our JSON).
// Damaged blocks give what could be read.
std::map<std::string, std::string> ExifText(std::string_view tiff);

int ExifOrientation(std::string_view tiff);  // 1..8; 1 when absent
int XmpOrientation(std::string_view xmp);    // the same of an XMP packet's tiff:Orientation

}  // namespace tessera
