#include <gtest/gtest.h>

#include "base/error.h"
#include "pipeline/output_files.h"

namespace tessera {
namespace {

TEST(SafeFileName, KeepsLettersDigitsAndJoinsTheRest) {
  EXPECT_EQ(SafeFileName("a red  fox, at dawn!"), "a_red_fox_at_dawn");
  EXPECT_EQ(SafeFileName("../../etc/passwd"), "etc_passwd");
  EXPECT_EQ(SafeFileName("狐"), "output");
  EXPECT_EQ(SafeFileName(""), "output");
  EXPECT_EQ(SafeFileName(std::string(400, 'a')).size(), 150u);
}

TEST(OutputFiles, NumbersSeveralPictures) {
  GenerateRequest request;
  request.prompts = {"a", "b"};
  request.num_outputs_per_prompt = 2;
  request.output_file_name = "x.webp";
  const auto files = OutputFiles(request);
  ASSERT_EQ(files.size(), 4u);
  EXPECT_EQ(files[3].path.filename(), "x_3.webp");
  EXPECT_EQ(files[3].format, PictureFormat::kWebp);
}

TEST(OutputFiles, RefusesAnExtensionThatContradictsTheFormat) {
  GenerateRequest request;
  request.prompts = {"a"};
  request.output_file_name = "x.jpg";
  request.output_format = "png";
  EXPECT_THROW(OutputFiles(request), Error);
  request.output_file_name = "x.mp4";
  EXPECT_THROW(OutputFiles(request), Error);
}

TEST(OutputFiles, KeepsADotThatIsNoExtension) {
  GenerateRequest request;
  request.prompts = {"a"};
  request.output_file_name = "v1.5";
  EXPECT_EQ(OutputFiles(request)[0].path.filename(), "v1.5.png");
}

}  // namespace
}  // namespace tessera
