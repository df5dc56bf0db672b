#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/autoencoder.h"
#include "models/text_encoder.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

TEST(ModelRegistry, FindsArchitecturesByEveryClassName) {
  for (const char* name : {"Qwen3ForCausalLM", "Qwen3Model"}) EXPECT_NE(FindTextEncoder(name).parse, nullptr) << name;
  for (const char* name : {"AutoencoderKLFlux2", "AutoencoderKL"})
    EXPECT_NE(FindAutoencoder(name).parse, nullptr) << name;
}

TEST(ModelRegistry, UnknownClassesAreRefusedWithTheKnownOnes) {
  const std::string text = ErrorOf([] { FindTextEncoder("BertModel"); });
  EXPECT_THAT(text, testing::AllOf(testing::HasSubstr("'BertModel'"), testing::HasSubstr("Qwen3ForCausalLM")));
  const std::string vae = ErrorOf([] { FindAutoencoder("AutoencoderKLHunyuanVideo"); });
  EXPECT_THAT(
      vae, testing::AllOf(testing::HasSubstr("'AutoencoderKLHunyuanVideo'"), testing::HasSubstr("AutoencoderKLFlux2")));
}

TEST(ModelRegistry, PartsOfNamesAreUnknown) {
  EXPECT_NE(ErrorOf([] { FindTextEncoder("Qwen3"); }), "no error");
  EXPECT_NE(ErrorOf([] { FindTextEncoder(""); }), "no error");
  EXPECT_NE(ErrorOf([] { FindTextEncoder("Qwen3ForCausalLM Qwen3Model"); }), "no error");
}

}  // namespace
}  // namespace tessera
