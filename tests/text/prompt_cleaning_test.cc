#include "text/prompt_cleaning.h"

#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "base/config.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"
#include "text/html_entities.h"

namespace tessera {
namespace {

const std::filesystem::path kGolden = std::filesystem::path(TESSERA_SOURCE_FOLDER) / "tests/golden";

// Rows of {"text", "fixed", "cleaned"}, recorded with ftfy 6.3.1 and Python's html.
nlohmann::json Rows() {
  return ParseJson(ReadWholeFile(kGolden / "prompt_cleaning.json", size_t{1} << 20), "prompt_cleaning.json");
}

TEST(PromptCleaning, RepairsTextAsTheOriginalDoes) {
  const nlohmann::json rows = Rows();
  EXPECT_GT(rows.size(), 100u);
  for (const auto& row : rows) EXPECT_EQ(FixText(row["text"].get<std::string>()), row["fixed"]) << row["text"];
}

TEST(PromptCleaning, CleansPromptsAsTheOriginalDoes) {
  for (const auto& row : Rows()) EXPECT_EQ(CleanPrompt(row["text"].get<std::string>()), row["cleaned"]) << row["text"];
}

TEST(PromptCleaning, MatchesTheRecordedPipelines) {
  const Config cases = Config::FromFile(kGolden / "pipelines/wan21_t2v_tiny/cases.json").Object("cases");
  int prompts = 0;
  for (const auto& [name, row] : cases.json().items()) {
    for (const std::string key : {"prompt", "negative_prompt"}) {
      if (!row.contains("cleaned_" + key)) continue;
      EXPECT_EQ(CleanPrompt(row[key].get<std::string>()), row["cleaned_" + key]) << name;
      ++prompts;
    }
  }
  EXPECT_GE(prompts, 3);
}

TEST(PromptCleaning, CleanedAgainIsTheSame) {
  for (const char* text : {"schÃ¶n “x”", "ＡＢＣ ﬁ", " a\n\n b ", "狐🦊"}) {
    const std::string once = CleanPrompt(text);
    EXPECT_EQ(CleanPrompt(once), once) << text;
  }
}

TEST(PromptCleaning, ReadsAgainWhatWasMisreadTwice) {
  EXPECT_EQ(CleanPrompt("Ãƒ\u00C2\u00A9t\u00C3\u0192\u00C2\u00A9"), "été");
}

TEST(PromptCleaning, LeavesWritingWithAccentsAlone) {
  for (const char* text :
       {"ÅÄÖ åäö", "Ça va ? Été à l'ouest", "¿Qué año? ¡Sí!", "Łódź, Kraków", "Привет", "¯\\_(ツ)_/¯"}) {
    EXPECT_EQ(CleanPrompt(text), text);
  }
}

TEST(PromptCleaning, LongLinesOfReferencesEnd) {
  std::string text = "&";
  for (int i = 0; i < 5000; ++i) text += "amp;";
  EXPECT_EQ(CleanPrompt(text), "&");
}

TEST(HtmlEntities, KnowsNamesWithAndWithoutSemicolon) {
  EXPECT_EQ(UnescapeHtml("&eacute;&eacute &notin; &notit; &ngE;"), "éé ∉ ¬it; ≧̸");
  EXPECT_EQ(UnescapeClosedHtml("&eacute;&eacute &EACUTE; &notit;"), "é&eacute É &notit;");
}

TEST(HtmlEntities, ReadsNumbersAsBrowsersDo) {
  EXPECT_EQ(UnescapeHtml("&#65;&#x41&#X41;&#128;"), "AAA€");
  EXPECT_EQ(UnescapeHtml("&#0;&#xD800;&#x110000;&#99999999999999999999;"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(UnescapeHtml("a&#1;&#xFFFE;b"), "ab");
  EXPECT_EQ(UnescapeHtml("&#; &#x; &; & &zzz;"), "&#; &#x; &; & &zzz;");
}

}  // namespace
}  // namespace tessera
