#include "weights/weight_map.h"

#include <gmock/gmock.h>

#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

WeightMap MapOf(const std::vector<std::string>& keys, DType dtype = DType::kF32) {
  WeightMap map("transformer");
  for (const std::string& key : keys) map.Insert(key, Tensor::Zeros({2, 3}, dtype), "t.safetensors");
  return map;
}

TEST(WeightMap, AcceptsWhenEveryTensorIsTaken) {
  WeightMap map = MapOf({"a", "b"});
  map.Take("a", {2, 3});
  EXPECT_THAT(ErrorOf([&] { map.Finish(); }), HasSubstr("1 of 2 tensors do not belong to this model: 'b'"));
  EXPECT_EQ(map.TakeF32("b", {2, 3}).dtype(), DType::kF32);
  EXPECT_EQ(ErrorOf([&] { map.Finish(); }), "no error");
}

TEST(WeightMap, LeftOversAreCountedAndTheFirstAreNamed) {
  EXPECT_THAT(ErrorOf([] {
                MapOf({"a", "b", "c", "d", "e", "f"}).Finish();
              }),
              testing::StrEq("transformer: 6 of 6 tensors do not belong to this model: 'a', 'b', 'c', 'd', and 2 more "
                             "(the first in 't.safetensors')"));
}

TEST(WeightMap, AMissingTensorNamesTheNearest) {
  WeightMap map = MapOf({"blocks.0.norm.weight", "proj.bias"});
  EXPECT_THAT(ErrorOf([&] {
                map.Take("blocks.0.norms.weight", {2, 3});
              }),
              HasSubstr("'blocks.0.norms.weight' is missing; there is 'blocks.0.norm.weight'"));
  EXPECT_THAT(ErrorOf([&] { map.Peek("nothing like it"); }),
              HasSubstr("transformer: tensor 'nothing like it' is missing"));
}

TEST(WeightMap, AWrongShapeNamesBothShapesAndTheFile) {
  WeightMap map = MapOf({"a"});
  EXPECT_EQ(ErrorOf([&] {
              map.Take("a", {3, 2});
            }),
            "transformer: tensor 'a' of 't.safetensors' has the shape [2, 3], expected [3, 2]");
  map.Take("a", {2, 3});
}

TEST(WeightMap, ATensorThatIsThereTwiceIsRefused) {
  WeightMap map = MapOf({"a"});
  EXPECT_THAT(ErrorOf([&] { map.Insert("a", Tensor::Zeros({1}, DType::kF32), "u.safetensors"); }),
              HasSubstr("tensor 'a' is in 't.safetensors' and in 'u.safetensors'"));
}

TEST(WeightMapDeathTest, TakingTwiceIsABug) {
  testing::GTEST_FLAG(death_test_style) = "threadsafe";
  WeightMap map = MapOf({"a"});
  map.Take("a", {2, 3});
  EXPECT_DEATH(map.Take("a", {2, 3}), "internal error");
}

TEST(WeightMap, StripsAPrefixWhereItIs) {
  WeightMap map = MapOf({"model.a", "model.model.b", "head"});
  map.StripPrefix("model.");
  EXPECT_THAT(map.Keys(), ElementsAre("a", "head", "model.b"));
  WeightMap clash = MapOf({"model.a", "a"});
  EXPECT_THAT(ErrorOf([&] { clash.StripPrefix("model."); }),
              HasSubstr("'a' is there with and without the prefix 'model.'"));
}

TEST(WeightMap, IgnoredTensorsAreNotLeftOver) {
  WeightMap map = MapOf({"lm_head.weight", "visual.a", "visual.b", "visually", "x"});
  map.Ignore("lm_head.weight");
  map.Ignore("visual.*");
  map.Ignore("not there");
  EXPECT_THAT(ErrorOf([&] { map.Finish(); }),
              HasSubstr("2 of 5 tensors do not belong to this model: 'visually', 'x' "));
}

TEST(WeightMap, KnowsItsBytesAndMainType) {
  WeightMap map = MapOf({"a", "b"}, DType::kBF16);
  map.Insert("c", Tensor::Zeros({2}, DType::kF32), "t");
  map.Insert("d", Tensor::Zeros({100}, DType::kI64), "t");
  EXPECT_EQ(map.total_bytes(), 2u * 12 + 8 + 800);
  EXPECT_EQ(map.MainDType(), DType::kBF16);
  EXPECT_EQ(WeightMap("none").MainDType(), DType::kF32);
}

TEST(WeightMap, EightBitFloatsAreNotReadAsF32) {
  WeightMap map = MapOf({"a"}, DType::kF8E4M3);
  EXPECT_THAT(ErrorOf([&] { map.TakeF32("a", {2, 3}); }), HasSubstr("tensor 'a' is f8"));
}

}  // namespace
}  // namespace tessera
