#include <png.h>

#include <csetjmp>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include "media/codecs.h"
#include "media/exif.h"
#include "media/unicode.h"

namespace tessera {
namespace {

constexpr png_uint_32 kMostSide = 0x7FFFFFFF;
constexpr png_alloc_size_t kMostChunkBytes = 4 << 20;
constexpr png_uint_32 kMostChunks = 256;
constexpr size_t kMostMessage = 200;

// libpng reports errors by longjmp. Everything that owns memory lives in these two structs, outside of the frames a
// jump skips; the functions below that call libpng hold nothing but plain values.
struct PngSession {
  png_structp png = nullptr;
  png_infop info = nullptr;
  char message[kMostMessage] = {};
};

void KeepMessage(png_structp png, png_const_charp message) {
  auto* session = static_cast<PngSession*>(png_get_error_ptr(png));
  std::strncpy(session->message, message, kMostMessage - 1);
  png_longjmp(png, 1);
}

void IgnoreWarning(png_structp, png_const_charp) {}

struct PngReader : PngSession {
  explicit PngReader(const PictureFile& source) : file(source), rest(source.bytes) {
    png = png_create_read_struct(PNG_LIBPNG_VER_STRING, static_cast<PngSession*>(this), KeepMessage, IgnoreWarning);
    info = png != nullptr ? png_create_info_struct(png) : nullptr;
    TESSERA_CHECK(info != nullptr);
  }
  ~PngReader() { png_destroy_read_struct(&png, &info, nullptr); }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;

  const PictureFile& file;
  std::string_view rest;
  int passes = 1;
  uint8_t* pixels = nullptr;  // [height, width, 3], or null: decode and forget
};

struct PngWriter : PngSession {
  PngWriter(const Picture& source, std::vector<png_text>& fields) : picture(source), text(fields) {
    png = png_create_write_struct(PNG_LIBPNG_VER_STRING, static_cast<PngSession*>(this), KeepMessage, IgnoreWarning);
    info = png != nullptr ? png_create_info_struct(png) : nullptr;
    TESSERA_CHECK(info != nullptr);
  }
  ~PngWriter() { png_destroy_write_struct(&png, &info); }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;

  const Picture& picture;
  std::vector<png_text>& text;
  std::vector<uint8_t> bytes;
  bool out_of_memory = false;
};

template <typename Session>
bool Guarded(Session& session, void (*step)(Session&)) {
  if (setjmp(png_jmpbuf(session.png)) != 0) return false;
  step(session);
  return true;
}

void RunOrRefuse(PngReader& reader, void (*step)(PngReader&)) {
  if (!Guarded(reader, step)) RefusePicture(reader.file, "damaged PNG: " + Lower(reader.message));
}

void TakeBytes(png_structp png, png_bytep target, size_t count) {
  auto& rest = static_cast<PngReader*>(png_get_io_ptr(png))->rest;
  if (count > rest.size()) png_error(png, "the file is truncated");
  std::memcpy(target, rest.data(), count);
  rest.remove_prefix(count);
}

void ReadHeader(PngReader& reader) {
  png_structp png = reader.png;
  png_set_read_fn(png, &reader, TakeBytes);
  png_set_user_limits(png, kMostSide, kMostSide);
  png_set_chunk_malloc_max(png, kMostChunkBytes);
  png_set_chunk_cache_max(png, kMostChunks);
  png_read_info(png, reader.info);
}

void AskForRgb(PngReader& reader) {
  png_structp png = reader.png;
  png_set_strip_16(png);
  png_set_palette_to_rgb(png);
  if (png_get_bit_depth(png, reader.info) < 8 && (png_get_color_type(png, reader.info) & PNG_COLOR_MASK_COLOR) == 0) {
    png_set_expand_gray_1_2_4_to_8(png);
  }
  png_set_gray_to_rgb(png);
  png_set_strip_alpha(png);
  reader.passes = png_set_interlace_handling(png);
  png_read_update_info(png, reader.info);
  const size_t wanted = size_t{png_get_image_width(png, reader.info)} * 3;
  if (png_get_rowbytes(png, reader.info) != wanted) png_error(png, "unknown pixel format");
}

void ReadRows(PngReader& reader) {
  const size_t row_bytes = png_get_rowbytes(reader.png, reader.info);
  const png_uint_32 height = png_get_image_height(reader.png, reader.info);
  for (int pass = 0; pass < reader.passes; ++pass) {
    for (png_uint_32 y = 0; y < height; ++y) {
      png_read_row(reader.png, reader.pixels != nullptr ? reader.pixels + y * row_bytes : nullptr, nullptr);
    }
  }
  png_read_end(reader.png, reader.info);
}

// Sizes are judged by the first 24 bytes: signature, length, "IHDR", width, height (PNG specification 11.2.2).
void CheckHeaderSize(const PictureFile& file) {
  if (file.bytes.size() < 24 || file.bytes.substr(12, 4) != "IHDR") return;
  const auto* header = reinterpret_cast<png_const_bytep>(file.bytes.data());
  CheckPictureSize(file, png_get_uint_32(header + 20), png_get_uint_32(header + 16));
}

std::span<const png_text> TextFields(const PngReader& reader) {
  png_textp fields = nullptr;
  const int count = png_get_text(reader.png, reader.info, &fields, nullptr);
  return {fields, static_cast<size_t>(count)};
}

std::string FieldText(const png_text& field) {
  const bool utf8 = field.compression == PNG_ITXT_COMPRESSION_NONE || field.compression == PNG_ITXT_COMPRESSION_zTXt;
  const size_t length = utf8 ? field.itxt_length : field.text_length;
  const std::string_view text(field.text != nullptr ? field.text : "", field.text != nullptr ? length : 0);
  // Some programs write UTF-8 into iTXt only in name, others Latin-1 fields with UTF-8 in them.
  return utf8 && IsUtf8(text) ? std::string(text) : Latin1ToUtf8(text);
}

int Orientation(PngReader& reader) {
  png_bytep exif = nullptr;
  png_uint_32 count = 0;
  if (png_get_eXIf_1(reader.png, reader.info, &count, &exif) != 0) {
    const int orientation = ExifOrientation({reinterpret_cast<const char*>(exif), count});
    if (orientation != 1) return orientation;
  }
  for (const png_text& field : TextFields(reader)) {
    if (std::string_view(field.key) == "XML:com.adobe.xmp") return XmpOrientation(FieldText(field));
  }
  return 1;
}

void PutBytes(png_structp png, png_bytep source, size_t count) {
  auto* writer = static_cast<PngWriter*>(png_get_io_ptr(png));
  // No exception may cross libpng.
  try {
    writer->bytes.insert(writer->bytes.end(), source, source + count);
  } catch (const std::bad_alloc&) {
    writer->out_of_memory = true;
  }
  if (writer->out_of_memory) png_error(png, "out of memory");
}

void WriteAll(PngWriter& writer) {
  png_structp png = writer.png;
  const Picture& picture = writer.picture;
  png_set_write_fn(png, &writer, PutBytes, nullptr);
  png_set_user_limits(png, kMostSide, kMostSide);
  png_set_compression_level(png, 6);
  png_set_IHDR(png, writer.info, static_cast<png_uint_32>(picture.width), static_cast<png_uint_32>(picture.height), 8,
               PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_set_text(png, writer.info, writer.text.data(), static_cast<int>(writer.text.size()));
  png_write_info(png, writer.info);
  for (int64_t y = 0; y < picture.height; ++y) png_write_row(png, picture.rgb.data() + y * picture.width * 3);
  png_write_end(png, nullptr);
}

// Text in the encoding that is written; `values` keeps the bytes the fields point to.
std::vector<png_text> MakeFields(const PictureText& text, std::vector<std::string>& values) {
  std::vector<png_text> fields;
  values.reserve(text.size());
  for (const auto& [key, value] : text) {
    const auto latin1 = Utf8ToLatin1(value);
    values.push_back(latin1.value_or(value));
    png_text field{};
    field.compression = latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
    field.key = const_cast<char*>(key.c_str());
    field.text = values.back().data();
    (latin1 ? field.text_length : field.itxt_length) = values.back().size();
    fields.push_back(field);
  }
  return fields;
}

}  // namespace

DecodedPicture DecodePng(const PictureFile& file) {
  CheckHeaderSize(file);
  PngReader reader(file);
  RunOrRefuse(reader, ReadHeader);
  DecodedPicture decoded;
  decoded.picture =
      BlankPicture(file, png_get_image_height(reader.png, reader.info), png_get_image_width(reader.png, reader.info));
  reader.pixels = decoded.picture.rgb.data();
  RunOrRefuse(reader, AskForRgb);
  RunOrRefuse(reader, ReadRows);
  decoded.orientation = Orientation(reader);
  return decoded;
}

PictureText ReadPngText(const PictureFile& file) {
  CheckHeaderSize(file);
  PngReader reader(file);
  RunOrRefuse(reader, ReadHeader);
  RunOrRefuse(reader, AskForRgb);
  RunOrRefuse(reader, ReadRows);
  PictureText text;
  for (const png_text& field : TextFields(reader)) text.emplace(Latin1ToUtf8(field.key), FieldText(field));
  return text;
}

std::vector<uint8_t> EncodePng(const Picture& picture, const PictureText& text) {
  std::vector<std::string> values;
  std::vector<png_text> fields = MakeFields(text, values);
  PngWriter writer(picture, fields);
  if (!Guarded(writer, WriteAll)) {
    throw Error(writer.out_of_memory ? ErrorKind::kMemory : ErrorKind::kUnsupported,
                fmt::format("a picture of {} x {} pixels cannot be written as PNG: {}", picture.width, picture.height,
                            Lower(writer.message)));
  }
  return std::move(writer.bytes);
}

}  // namespace tessera
