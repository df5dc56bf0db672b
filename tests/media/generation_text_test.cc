#include "media/generation_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace tessera {
namespace {

using testing::HasSubstr;

GenerationText Sample() {
  GenerationText generation;
  generation.prompt = "a cat, \"quoted\"\nsecond line \xE7\x8C\xAB";
  generation.negative_prompt = "blurry";
  generation.model = "black-forest-labs/FLUX.2-klein-4B";
  generation.sampler = "FlowMatchEulerDiscreteScheduler";
  generation.steps = 4;
  generation.seed = 9007199254740993;
  generation.height = 512;
  generation.width = 768;
  generation.guidance_scale = 3.5;
  generation.version = "tessera 0.1.0";
  generation.more = {{"attention-backend", "sage_attn, video"}};
  return generation;
}

std::string Refusal(const std::map<std::string, std::string>& text) {
  try {
    ParsePictureText(text, "cat.png");
    return "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
}

// Our JSON with one text replaced.
std::string Changed(const std::string& from, const std::string& to) {
  std::string json = MakePictureText(Sample()).at("tessera");
  const size_t found = json.find(from);
  EXPECT_NE(found, std::string::npos) << from;
  return json.replace(found, from.size(), to);
}

TEST(GenerationText, WritesTheParametersLineOfOtherPrograms) {
  EXPECT_EQ(
      MakePictureText(Sample()).at("parameters"),
      "a cat, \"quoted\"\nsecond line \xE7\x8C\xAB\nNegative prompt: blurry\n"
      "Steps: 4, Sampler: FlowMatchEulerDiscreteScheduler, CFG scale: 3.5, Seed: 9007199254740993, Size: 768x512, "
      "Model: black-forest-labs/FLUX.2-klein-4B, Attention backend: \"sage_attn, video\", Version: tessera 0.1.0");
}

TEST(GenerationText, LeavesAnEmptyNegativePromptOut) {
  GenerationText generation = Sample();
  generation.negative_prompt.clear();
  generation.guidance_scale = 1;
  const std::string parameters = MakePictureText(generation).at("parameters");
  EXPECT_THAT(parameters, testing::Not(HasSubstr("Negative")));
  EXPECT_THAT(parameters, HasSubstr("CFG scale: 1, "));
}

TEST(GenerationText, ComesBackWhole) {
  const GenerationText read = ParsePictureText(MakePictureText(Sample()), "cat.png");
  EXPECT_EQ(read.prompt, Sample().prompt);
  EXPECT_EQ(read.negative_prompt, Sample().negative_prompt);
  EXPECT_EQ(read.model, Sample().model);
  EXPECT_EQ(read.sampler, Sample().sampler);
  EXPECT_EQ(read.steps, 4);
  EXPECT_EQ(read.seed, 9007199254740993);
  EXPECT_EQ(read.height, 512);
  EXPECT_EQ(read.width, 768);
  EXPECT_EQ(read.guidance_scale, 3.5);
  EXPECT_EQ(read.version, "tessera 0.1.0");
  EXPECT_EQ(read.more, Sample().more);
}

TEST(GenerationText, IgnoresFieldsOfLaterVersions) {
  EXPECT_EQ(ParsePictureText({{"tessera", Changed("{", "{\"later\": [1], ")}}, "").steps, 4);
}

TEST(GenerationText, RefusesPicturesWithoutIt) {
  EXPECT_EQ(Refusal({}), "cat.png: holds no generation text of tessera");
  EXPECT_THAT(Refusal({{"parameters", "a cat"}}), HasSubstr("only the parameters of another program"));
}

TEST(GenerationText, RefusesGarbage) {
  for (const std::string& json : {std::string(""), std::string("cat"), std::string("[]"), std::string("{\"a\":"),
                                  std::string(1 << 18, '['), std::string(2 << 20, ' '), std::string("\xFF")}) {
    EXPECT_THAT(Refusal({{"tessera", json}}), HasSubstr("cat.png: its generation text is damaged"));
  }
  EXPECT_THAT(Refusal({{"tessera", "{}"}}), HasSubstr("has no 'prompt'"));
  EXPECT_THAT(Refusal({{"tessera", Changed("\"steps\":4", "\"steps\":\"4\"")}}), HasSubstr("'steps' = \"4\", a whole"));
  EXPECT_THAT(Refusal({{"tessera", Changed("\"steps\":4", "\"steps\":-4")}}), HasSubstr("'steps' = -4, a whole"));
  EXPECT_THAT(Refusal({{"tessera", Changed("\"steps\":4", "\"steps\":4.5")}}), HasSubstr("'steps' = 4.5, a whole"));
  EXPECT_THAT(Refusal({{"tessera", Changed("\"steps\":4", "\"steps\":18446744073709551615")}}), HasSubstr("a whole"));
  EXPECT_THAT(Refusal({{"tessera", Changed("3.5", "\"x\"")}}), HasSubstr("a finite number is needed"));
  EXPECT_THAT(Refusal({{"tessera", Changed("3.5", "1e999")}}), HasSubstr("cat.png: "));
  EXPECT_THAT(Refusal({{"tessera", Changed("\"blurry\"", "null")}}), HasSubstr("'negative_prompt' = null, text"));
  EXPECT_THAT(Refusal({{"tessera", Changed("\"blurry\"", "\"a\\u0000b\"")}}), HasSubstr("text without NUL"));
  EXPECT_THAT(Refusal({{"tessera", Changed("\"sage_attn, video\"", "7")}}), HasSubstr("'attention-backend' = 7, text"));
}

}  // namespace
}  // namespace tessera
