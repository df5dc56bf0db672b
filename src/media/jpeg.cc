#include <cstdio>

#include <jpeglib.h>

#include <jerror.h>

#include <csetjmp>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "media/codecs.h"
#include "media/exif.h"

namespace tessera {
namespace {

constexpr int kExifMarker = JPEG_APP0 + 1;
constexpr std::string_view kExifName("Exif\0\0", 6), kXmpName("http://ns.adobe.com/xap/1.0/\0", 29);
constexpr size_t kMostMarkerBytes = 65533;
// A progressive file may repeat scans at next to no cost in bytes: bounds on their number and on the total work.
constexpr int64_t kMostScans = 100, kMostScannedPixels = int64_t{1} << 30;
// At this quality colour is kept at full resolution; below, one sample for 2 x 2 pixels as libjpeg does by default.
constexpr int kFullColorQuality = 90;

// libjpeg reports errors by longjmp, see png.cc: what owns memory lives in structs outside the frames a jump skips.
struct JpegErrors {
  jpeg_error_mgr calls{};
  jmp_buf jump;
  char message[JMSG_LENGTH_MAX] = {};
};

JpegErrors& ErrorsOf(j_common_ptr codec) {
  return *reinterpret_cast<JpegErrors*>(reinterpret_cast<char*>(codec->err) - offsetof(JpegErrors, calls));
}

[[noreturn]] void JumpOut(j_common_ptr codec) {
  JpegErrors& errors = ErrorsOf(codec);
  codec->err->format_message(codec, errors.message);
  std::longjmp(errors.jump, 1);
}

// Warnings that mean missing pixels are errors; libjpeg would fill the rest with grey.
void JudgeWarning(j_common_ptr codec, int level) {
  if (level >= 0) return;
  const int code = codec->err->msg_code;
  if (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE) JumpOut(codec);
}

void InstallErrors(JpegErrors& errors) {
  jpeg_std_error(&errors.calls);
  errors.calls.error_exit = JumpOut;
  errors.calls.emit_message = JudgeWarning;
}

struct JpegReader {
  explicit JpegReader(const PictureFile& source) : file(source) {
    InstallErrors(errors);
    codec.err = &errors.calls;
    progress.progress_monitor = LimitScans;
  }
  ~JpegReader() { jpeg_destroy_decompress(&codec); }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;

  static void LimitScans(j_common_ptr common) {
    const auto* decoder = reinterpret_cast<j_decompress_ptr>(common);
    const int64_t pixels = int64_t{decoder->image_width} * decoder->image_height;
    const int64_t scans = decoder->input_scan_number;
    if (scans <= kMostScans && scans * pixels <= kMostScannedPixels) return;
    std::strcpy(ErrorsOf(common).message, "too many scans");
    std::longjmp(ErrorsOf(common).jump, 1);
  }

  const PictureFile& file;
  JpegErrors errors;
  jpeg_progress_mgr progress{};
  jpeg_decompress_struct codec{};
  uint8_t* pixels = nullptr;
  uint8_t* cmyk_row = nullptr;  // [width, 4], for pictures of four inks
};

struct JpegWriter {
  JpegWriter(const Picture& source, int wanted_quality, std::string marker)
      : picture(source), quality(wanted_quality), exif(std::move(marker)) {
    InstallErrors(errors);
    codec.err = &errors.calls;
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&codec);
    std::free(bytes);
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;

  const Picture& picture;
  const int quality;
  const std::string exif;
  JpegErrors errors;
  jpeg_compress_struct codec{};
  unsigned char* bytes = nullptr;  // malloc'ed by libjpeg
  unsigned long count = 0;
};

template <typename Session>
bool Guarded(Session& session, void (*step)(Session&)) {
  if (setjmp(session.errors.jump) != 0) return false;
  step(session);
  return true;
}

void RunOrRefuse(JpegReader& reader, void (*step)(JpegReader&)) {
  if (!Guarded(reader, step)) RefusePicture(reader.file, "damaged JPEG: " + Lower(reader.errors.message));
}

void ReadHeader(JpegReader& reader) {
  jpeg_create_decompress(&reader.codec);
  reader.codec.progress = &reader.progress;
  jpeg_mem_src(&reader.codec, reinterpret_cast<const unsigned char*>(reader.file.bytes.data()),
               static_cast<unsigned long>(reader.file.bytes.size()));
  jpeg_save_markers(&reader.codec, kExifMarker, 0xFFFF);
  jpeg_read_header(&reader.codec, TRUE);
}

bool HasFourInks(const JpegReader& reader) {
  return reader.codec.jpeg_color_space == JCS_CMYK || reader.codec.jpeg_color_space == JCS_YCCK;
}

// Inks as Adobe stores them (inverted) to RGB, in PIL's rounding.
void CmykToRgb(const uint8_t* cmyk, uint8_t* rgb, int64_t count) {
  for (int64_t i = 0; i < count; ++i, cmyk += 4, rgb += 3) {
    const int white = cmyk[3];
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - cmyk[c]) * white + 128;
      rgb[c] = static_cast<uint8_t>(white - ((product >> 8) + product) / 256);
    }
  }
}

void ReadRows(JpegReader& reader) {
  jpeg_decompress_struct& codec = reader.codec;
  codec.out_color_space = reader.cmyk_row != nullptr ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&codec);
  while (codec.output_scanline < codec.output_height) {
    uint8_t* rgb = reader.pixels + size_t{codec.output_scanline} * codec.output_width * 3;
    JSAMPROW row = reader.cmyk_row != nullptr ? reader.cmyk_row : rgb;
    jpeg_read_scanlines(&codec, &row, 1);
    if (reader.cmyk_row != nullptr) CmykToRgb(reader.cmyk_row, rgb, codec.output_width);
  }
  jpeg_finish_decompress(&codec);
}

// The content of the first APP1 marker that begins with `name`.
std::string_view Marker(const JpegReader& reader, std::string_view name) {
  for (jpeg_saved_marker_ptr marker = reader.codec.marker_list; marker != nullptr; marker = marker->next) {
    const std::string_view content(reinterpret_cast<const char*>(marker->data), marker->data_length);
    if (marker->marker == kExifMarker && content.starts_with(name)) return content.substr(name.size());
  }
  return {};
}

void WriteAll(JpegWriter& writer) {
  jpeg_compress_struct& codec = writer.codec;
  jpeg_create_compress(&codec);
  jpeg_mem_dest(&codec, &writer.bytes, &writer.count);
  codec.image_width = static_cast<JDIMENSION>(writer.picture.width);
  codec.image_height = static_cast<JDIMENSION>(writer.picture.height);
  codec.input_components = 3;
  codec.in_color_space = JCS_RGB;
  jpeg_set_defaults(&codec);
  jpeg_set_quality(&codec, writer.quality, TRUE);
  if (writer.quality >= kFullColorQuality) codec.comp_info[0].h_samp_factor = codec.comp_info[0].v_samp_factor = 1;
  codec.optimize_coding = TRUE;
  jpeg_start_compress(&codec, TRUE);
  if (!writer.exif.empty()) {
    jpeg_write_marker(&codec, kExifMarker, reinterpret_cast<const JOCTET*>(writer.exif.data()),
                      static_cast<unsigned>(writer.exif.size()));
  }
  while (codec.next_scanline < codec.image_height) {
    auto* row = const_cast<JSAMPROW>(writer.picture.rgb.data() + size_t{codec.next_scanline} * codec.image_width * 3);
    jpeg_write_scanlines(&codec, &row, 1);
  }
  jpeg_finish_compress(&codec);
}

}  // namespace

DecodedPicture DecodeJpeg(const PictureFile& file) {
  JpegReader reader(file);
  RunOrRefuse(reader, ReadHeader);
  DecodedPicture decoded;
  // The end of decoding frees the markers.
  decoded.orientation = ExifOrientation(Marker(reader, kExifName));
  if (decoded.orientation == 1) decoded.orientation = XmpOrientation(Marker(reader, kXmpName));
  decoded.picture = BlankPicture(file, reader.codec.image_height, reader.codec.image_width);
  reader.pixels = decoded.picture.rgb.data();
  std::vector<uint8_t> cmyk_row(HasFourInks(reader) ? size_t{reader.codec.image_width} * 4 : 0);
  if (!cmyk_row.empty()) reader.cmyk_row = cmyk_row.data();
  RunOrRefuse(reader, ReadRows);
  return decoded;
}

PictureText ReadJpegText(const PictureFile& file) {
  JpegReader reader(file);
  RunOrRefuse(reader, ReadHeader);
  return ExifText(Marker(reader, kExifName));
}

std::vector<uint8_t> EncodeJpeg(const Picture& picture, int quality, const PictureText& text) {
  std::string exif = MakeExif(text);
  if (!exif.empty()) exif.insert(0, kExifName);
  if (exif.size() > kMostMarkerBytes) {
    throw Error(ErrorKind::kUnsupported, fmt::format("a JPEG cannot hold {} of text, PNG or WebP would work",
                                                     FormatBytes(static_cast<double>(exif.size()))));
  }
  JpegWriter writer(picture, quality, std::move(exif));
  if (!Guarded(writer, WriteAll)) {
    throw Error(ErrorKind::kUnsupported, fmt::format("a picture of {} x {} pixels cannot be written as JPEG: {}",
                                                     picture.width, picture.height, Lower(writer.errors.message)));
  }
  return {writer.bytes, writer.bytes + writer.count};
}

}  // namespace tessera
