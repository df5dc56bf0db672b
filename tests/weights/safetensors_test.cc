#include "weights/safetensors.h"

#include <cstring>
#include <numeric>

#include <gmock/gmock.h>

#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string Encoded(const std::string& header, size_t tensor_bytes = 0) {
  const uint64_t length = header.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  file += header;
  for (size_t i = 0; i < tensor_bytes; ++i) file += static_cast<char>(i);
  return file;
}

SafetensorsHeader Parse(const std::string& file) {
  return ParseSafetensorsHeader(std::as_bytes(std::span(file.data(), file.size())), file.size(), "m.safetensors");
}

std::string Refusal(const std::string& header, size_t tensor_bytes = 0) {
  const std::string message = ErrorOf([&] { Parse(Encoded(header, tensor_bytes)); });
  if (message != "no error") {
    EXPECT_TRUE(message.starts_with("m.safetensors: ")) << message;
  }
  return message;
}

std::string OneTensor(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{\"w\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
}

TEST(SafetensorsHeader, ListsTensorsInTheOrderOfTheirBytes) {
  const auto header = Parse(Encoded(R"({"__metadata__":{"format":"pt"},
    "a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}   )",
                                    12));
  ASSERT_EQ(header.entries.size(), 2u);
  EXPECT_EQ(header.entries[0].key, "b");
  EXPECT_EQ(header.entries[0].dtype, DType::kBF16);
  EXPECT_EQ(header.entries[1].shape, Shape({2}));
  EXPECT_EQ(header.metadata.at("format"), "pt");
}

TEST(SafetensorsHeader, TensorsWithoutElementsAndScalarsAreLegal) {
  const auto header = Parse(Encoded(R"({"empty":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]},
    "scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"first":{"dtype":"I64","shape":[0],"data_offsets":[0,0]}})",
                                    4));
  EXPECT_EQ(header.entries.size(), 3u);
  EXPECT_TRUE(Parse(Encoded("{}")).entries.empty());
}

TEST(SafetensorsHeader, AFileThatEndsEarlyIsRefused) {
  const std::string whole = Encoded(OneTensor("\"F32\"", "[2]", "[0,8]"), 8);
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(ErrorOf([&] { Parse(whole.substr(0, size)); }), "no error") << size;
  }
  EXPECT_EQ(ErrorOf([&] { Parse(whole); }), "no error");
  EXPECT_THAT(ErrorOf([&] { Parse(whole.substr(0, whole.size() - 1)); }),
              HasSubstr("tensor 'w': ends at byte 8, but the file holds 7 bytes of tensors"));
}

TEST(SafetensorsHeader, AHeaderLengthThatLiesIsRefused) {
  for (const uint64_t length :
       {uint64_t{3}, uint64_t{100'000'000}, uint64_t{100'000'001}, ~uint64_t{0}, ~uint64_t{7}}) {
    std::string file = Encoded("{}");
    std::memcpy(file.data(), &length, sizeof length);
    EXPECT_THAT(ErrorOf([&] { Parse(file); }), HasSubstr("header of " + std::to_string(length) + " bytes")) << length;
  }
}

TEST(SafetensorsHeader, AHeaderThatIsNoObjectOfTensorsIsRefused) {
  EXPECT_THAT(Refusal("[]"), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(Refusal(" {}"), HasSubstr("does not begin with '{'"));
  EXPECT_THAT(Refusal("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("{} x"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Refusal("{\"a\":3}"), HasSubstr("tensor 'a': 3 is not an object"));
  EXPECT_THAT(Refusal("{\"a\xff\":3}"), HasSubstr("ill-formed UTF-8"));
  EXPECT_THAT(Refusal(R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"a":{}})"),
              HasSubstr("key 'a' is there twice"));
  EXPECT_THAT(Refusal(R"({"__metadata__":{"a":1}})"), HasSubstr("__metadata__ 'a' is 1, not a string"));
  EXPECT_THAT(Refusal(R"({"__metadata__":[]})"), HasSubstr("__metadata__ is an array of 0"));
  EXPECT_THAT(Refusal("{\"a\":" + std::string(1'000'000, '[')), HasSubstr("nested deeper than 3 levels"));
}

TEST(SafetensorsHeader, MissingAndWronglyTypedFieldsAreRefused) {
  EXPECT_THAT(Refusal(R"({"w":{"shape":[0],"data_offsets":[0,0]}})"), HasSubstr("tensor 'w': 'dtype' is missing"));
  EXPECT_THAT(Refusal(R"({"w":{"dtype":"F32","data_offsets":[0,0]}})"), HasSubstr("'shape' is missing"));
  EXPECT_THAT(Refusal(R"({"w":{"dtype":"F32","shape":[0]}})"), HasSubstr("'data_offsets' is missing"));
  EXPECT_THAT(Refusal(OneTensor("\"F31\"", "[0]", "[0,0]")), HasSubstr("unknown dtype \"F31\"; known are F64, F32"));
  EXPECT_THAT(Refusal(OneTensor("7", "[0]", "[0,0]")), HasSubstr("unknown dtype 7"));
  EXPECT_THAT(Refusal(OneTensor("\"F32\"", "3", "[0,0]")), HasSubstr("shape 3 is not an array"));
  EXPECT_THAT(Refusal(OneTensor("\"F32\"", "[0]", "[0]")), HasSubstr("data_offsets is an array of 1"));
  EXPECT_THAT(Refusal(OneTensor("\"F32\"", "[0]", "{}")), HasSubstr("data_offsets is an object"));
}

TEST(SafetensorsHeader, SizesThatAreNoSizesAreRefused) {
  for (const char* size : {"-1", "1.0", "\"1\"", "null", "9223372036854775808", "18446744073709551616"}) {
    EXPECT_THAT(Refusal(OneTensor("\"F32\"", std::string("[") + size + "]", "[0,4]"), 4),
                HasSubstr("is not an integer from 0 to 2^63 - 1"));
    EXPECT_THAT(Refusal(OneTensor("\"F32\"", "[1]", std::string("[0,") + size + "]"), 4),
                HasSubstr("is not an integer from 0 to 2^63 - 1"));
  }
  EXPECT_THAT(Refusal(OneTensor("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4), HasSubstr("9 dimensions, more than 8"));
  EXPECT_EQ(Refusal(OneTensor("\"F32\"", "[1,1,1,1,1,1,1,1]", "[0,4]"), 4), "no error");
}

TEST(SafetensorsHeader, ShapesWhoseProductOverflowsAreRefused) {
  const std::string big = "4611686018427387904";  // 2^62
  EXPECT_THAT(Refusal(OneTensor("\"U8\"", "[" + big + ",4]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(Refusal(OneTensor("\"F32\"", "[" + big + "]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(Refusal(OneTensor("\"U8\"", "[0," + big + "," + big + "]", "[0,0]")), HasSubstr("overflows"));
  EXPECT_THAT(Refusal(OneTensor("\"U8\"", "[" + big + "," + big + ",0]", "[0,0]")), HasSubstr("overflows"));
}

TEST(SafetensorsHeader, ByteCountsThatDisagreeWithTheShapeAreRefused) {
  EXPECT_THAT(Refusal(OneTensor("\"F32\"", "[2]", "[0,4]"), 4), HasSubstr("[0, 4] do not span the 8 bytes of f32 [2]"));
  EXPECT_THAT(Refusal(OneTensor("\"F32\"", "[1]", "[4,0]"), 4), HasSubstr("do not span the 4 bytes"));
}

TEST(SafetensorsHeader, OverlapsGapsAndUnusedBytesAreRefused) {
  const auto two = [](const char* first, const char* second) {
    return std::string(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":)") + first +
           R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":)" + second + "}}";
  };
  EXPECT_EQ(Refusal(two("[2,4]", "[0,2]"), 4), "no error");
  EXPECT_THAT(Refusal(two("[0,2]", "[1,3]"), 3), HasSubstr("tensor 'b': begins at byte 1, before the end 2"));
  EXPECT_THAT(Refusal(two("[0,2]", "[0,2]"), 2), HasSubstr("tensor 'b': begins at byte 0, before the end 2"));
  EXPECT_THAT(Refusal(two("[0,2]", "[3,5]"), 5), HasSubstr("tensor 'b': begins at byte 3, behind the end 2"));
  EXPECT_THAT(Refusal(two("[1,3]", "[3,5]"), 5), HasSubstr("tensor 'a': begins at byte 1, behind the end 0"));
  EXPECT_THAT(Refusal(two("[0,2]", "[2,4]"), 7), HasSubstr("3 bytes after the last tensor belong to none"));
  EXPECT_THAT(Refusal(two("[0,2]", "[9223372036854775805,9223372036854775807]"), 4),
              HasSubstr("the file holds 4 bytes"));
}

TEST(SafetensorsHeader, KeysWithControlCharactersStayOnOneLine) {
  EXPECT_THAT(Refusal("{\"a\\nb\\u0000\":3}"), HasSubstr("tensor 'a\\x0ab\\x00': 3"));
}

TEST(SafetensorsFile, ViewsLieInTheMappingAndOutliveTheFile) {
  const TemporaryFolder folder;
  std::string header = OneTensor("\"U8\"", "[2,3]", "[0,6]");
  Tensor view;
  {
    const SafetensorsFile file(folder.Write("m.safetensors", Encoded(header, 6)));
    view = file.Get("w");
    EXPECT_EQ(view.raw(), file.Get("w").raw());
    EXPECT_TRUE(file.Contains("w"));
    EXPECT_FALSE(file.Contains("v"));
    EXPECT_THAT(ErrorOf([&] { file.Get("v"); }), HasSubstr("m.safetensors: no tensor 'v'"));
  }
  EXPECT_EQ(view.shape(), Shape({2, 3}));
  EXPECT_THAT(std::span(view.data<uint8_t>(), 6), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST(SafetensorsFile, ElementsAtOddAddressesAreCopied) {
  const TemporaryFolder folder;
  for (size_t pad = 0; pad < 8; ++pad) {
    std::string header = OneTensor("\"F64\"", "[2]", "[0,16]") + std::string(pad, ' ');
    const SafetensorsFile file(folder.Write("m.safetensors", Encoded(header, 16)));
    const Tensor view = file.Get("w");
    EXPECT_EQ(reinterpret_cast<uintptr_t>(view.raw()) % alignof(double), 0u);
    std::array<uint8_t, 16> expected{};
    std::iota(expected.begin(), expected.end(), uint8_t{0});
    EXPECT_EQ(std::memcmp(view.raw(), expected.data(), 16), 0);
  }
}

TEST(SafetensorsFile, EmptyMissingAndWrongFilesAreRefused) {
  const TemporaryFolder folder;
  EXPECT_THAT(ErrorOf([&] { SafetensorsFile(folder.Write("e.safetensors", "")); }), HasSubstr("0 bytes are too few"));
  EXPECT_THAT(ErrorOf([&] { SafetensorsFile(folder.path() / "none.safetensors"); }), HasSubstr("none.safetensors"));
  EXPECT_THAT(ErrorOf([&] { SafetensorsFile file(folder.path()); }), HasSubstr("it is not a file"));
  EXPECT_THAT(ErrorOf([&] {
                SafetensorsFile(folder.Write("v1", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n"));
              }),
              HasSubstr("v1: not a safetensors file"));
}

TEST(WriteSafetensors, WhatIsWrittenIsRead) {
  const TemporaryFolder folder;
  Tensor odd = Tensor::Zeros({3}, DType::kBool);
  Tensor numbers = Tensor::Empty({2, 2}, DType::kF32);
  for (int i = 0; i < 4; ++i) numbers.mutable_data<float>()[i] = 0.5f * static_cast<float>(i);
  WriteSafetensors(folder.path() / "m.safetensors",
                   {{"odd", odd}, {"numbers \"\n", numbers}, {"none", Tensor::Zeros({0, 7}, DType::kI64)}},
                   {{"k", "v"}});
  const SafetensorsFile file(folder.path() / "m.safetensors");
  EXPECT_EQ(file.header().tensor_area % 8, 0u);
  EXPECT_EQ(file.header().metadata.at("k"), "v");
  EXPECT_EQ(file.header().entries[0].key, "odd");
  EXPECT_EQ(file.Get("none").shape(), Shape({0, 7}));
  EXPECT_THAT(std::span(file.Get("numbers \"\n").data<float>(), 4), ElementsAre(0.0f, 0.5f, 1.0f, 1.5f));
}

TEST(WriteSafetensors, NamesThatAreNotUtf8AreRefusedBeforeAnythingIsWritten) {
  const TemporaryFolder folder;
  const Tensor tensor = Tensor::Zeros({1}, DType::kF32);
  EXPECT_THAT(ErrorOf([&] {
                WriteSafetensors(folder.path() / "m", {{"a\xff", tensor}}, {});
              }),
              HasSubstr("'a\\xff' is not UTF-8"));
  EXPECT_THAT(ErrorOf([&] {
                WriteSafetensors(folder.path() / "m", {{"a", tensor}}, {{"k", "\xff"}});
              }),
              HasSubstr("not UTF-8"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

}  // namespace
}  // namespace tessera
