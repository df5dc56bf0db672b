#include "cli/hostile.h"

namespace tessera {
namespace {

std::string Repeat(const std::string& text, int count) {
  std::string result;
  for (int i = 0; i < count; ++i) result += text;
  return result;
}

Hostile Config(const char* name, const char* file, const std::string& content, const char* says) {
  return {name, Generate({"--config", file}), says, {{What::kWrite, file, content}}};
}

const Edit kEditing{What::kJson, "model/model_index.json", "/supports_image_edit=true"};

// A reference picture that is wrong; the model takes references.
Hostile Reference(const char* name, const Edit& edit, const char* says) {
  return {name, Generate({"--image-path", "cat.png"}), says, {kEditing, edit}};
}

Hostile FromImage(const char* name, const Edit& edit, const char* says) {
  return {name, {"generate", "--from-image", "cat.png"}, says, {edit}};
}

// A picture whose generation text has one field changed.
Edit Saying(const std::string& from, const std::string& to) {
  std::string text =
      R"({"prompt": "x", "negative_prompt": "", "model": "model", "sampler": "s", "steps": 1, "seed": 1, "height": 64, )"
      R"("width": 64, "guidance_scale": 1, "version": "t", "more": {"attention-backend": "fa", "dit-precision": "fp32", )"
      R"("max-sequence-length": "64", "vae-tile-size": "512"}})";
  return {What::kPicture, "cat.png", text.replace(text.find(from), from.size(), to)};
}

std::string Golden(const std::string& name) { return TESSERA_SOURCE_FOLDER "/tests/golden/media/" + name; }

// Signature and header of a PNG of 50,000 x 50,000 pixels.
const std::string kHugePng("\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\xc3\x50\0\0\xc3\x50\x08\x02\0\0\0\x75\x1c\xa3\x5e", 33);

}  // namespace

std::vector<Hostile> HostileFiles() {
  return {
      // Config files.
      {"ConfigMissing", Generate({"--config", "none.json"}), "none.json: no such file"},
      {"ConfigOfUnknownKind", Generate({"--config", "a.toml"}), "does not end in .json, .yaml or .yml"},
      {"ConfigFolder", Generate({"--config", "a.json"}), "is a folder", {{What::kFolder, "a.json"}}},
      {"ConfigPipe", Generate({"--config", "a.json"}), "is a pipe or device", {{What::kPipe, "a.json"}}},
      {"ConfigDevice", Generate({"--config", "a.json"}), "is a pipe or device", {{What::kLink, "a.json", "/dev/zero"}}},
      {"ConfigHuge", Generate({"--config", "a.yaml"}), "too large", {{What::kSparse, "a.yaml", "1000000000000"}}},
      {"ConfigForbidden",
       Generate({"--config", "model/model_index.json"}),
       "permission denied",
       {{What::kForbid, "model/model_index.json"}},
       Confinement::kPlainUser},
      Config("ConfigEmptyJson", "a.json", "", "a.json: not valid JSON"),
      Config("ConfigBrokenJson", "a.json", "{\"seed\": ", "a.json: not valid JSON"),
      Config("ConfigJsonList", "a.json", "[1, 2]", "a.json: "),
      Config("ConfigJsonBomb", "a.json", Repeat("[", 500000), "a.json: "),
      Config("ConfigObjectBomb", "a.json", Repeat("{\"a\":", 100000), "a.json: "),
      Config("ConfigYamlBomb", "a.yaml", "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nprompt: *c\n",
             "anchors and aliases"),
      Config("ConfigYamlNesting", "a.yaml", Repeat("[", 100000), "a.yaml: "),
      Config("ConfigBrokenYaml", "a.yaml", "a: 'x", "not valid YAML"),
      Config("ConfigTwoDocuments", "a.yaml", "seed: 1\n---\nseed: 2\n", "a second document"),
      Config("ConfigUnknownKey", "a.json", "{\"sede\": 1}",
             "a.json: sede: unknown flag of 'tessera generate', did you mean seed"),
      Config("ConfigWrongType", "a.json", "{\"seed\": \"many\"}", "a.json: seed: 'many' is not a whole number"),
      Config("ConfigWrongRange", "a.yaml", "guidance_scale: -1", "a.yaml: guidance_scale: '-1' is not"),
      Config("ConfigList", "a.yaml", "seed: [1, 2]", "a.yaml: seed: is a list"),
      Config("ConfigKeyTwice", "a.json", "{\"seed\": 1, \"seed\": 1}", "seed is given twice"),
      Config("ConfigNested", "a.json", "{\"seed\": {\"a\": {\"b\": 1}}}", "nested too deeply"),
      Config("ConfigOfBytes", "a.json", "{\"prompt\": \"\xff\"}", "a.json: not valid UTF-8"),
      Config("ConfigWithNul", "a.json", "{\"negative_prompt\": \"a\\u0000b\"}", "holds a NUL character"),
      Config("ConfigOfAConfig", "a.json", "{\"config\": \"b.json\"}", "config: unknown flag"),

      // Prompt files.
      {"PromptFileMissing", {"generate", "--prompt-path", "p.txt"}, "p.txt"},
      {"PromptFileFolder", {"generate", "--prompt-path", "model"}, "model"},
      {"PromptFileEmpty", {"generate", "--prompt-path", "p.txt"}, "p.txt", {{What::kWrite, "p.txt", " \n\n"}}},
      {"PromptFilePipe", {"generate", "--prompt-path", "p.txt"}, "p.txt", {{What::kPipe, "p.txt"}}},
      {"PromptFileOfBytes", {"generate", "--prompt-path", "p.txt"}, "UTF-8", {{What::kWrite, "p.txt", "a\xff\n"}}},
      {"PromptFileHuge", {"generate", "--prompt-path", "p.txt"}, "p.txt", {{What::kSparse, "p.txt", "1000000000000"}}},

      // Where the output goes.
      {"OutputPathIsAFile", Generate({"--output-path", "taken"}), "taken", {{What::kWrite, "taken", "x"}}},
      {"OutputPathUnderAFile", Generate({"--output-path", "taken/deep/er"}), "taken", {{What::kWrite, "taken", "x"}}},
      {"OutputPathEmpty", Generate({"--output-path", ""}), "--output-path: '' is empty"},
      {"OutputPathOfBytes", Generate({"--output-path", "\xff"}), "--output-path: '\\xff' is not valid UTF-8"},
      {"OutputPathTooLong", Generate({"--output-path", std::string(5000, 'x')}), "--output-path"},
      {"OutputPathReadOnly",
       Generate({"--output-path", "locked"}),
       "locked",
       {{What::kReadOnly, "locked"}},
       Confinement::kPlainUser},
      {"OutputPathBelowReadOnly",
       Generate({"--output-path", "locked/in"}),
       "locked",
       {{What::kReadOnly, "locked"}},
       Confinement::kPlainUser},
      {"OutputNameIsAFolder",
       Generate({"--output-path", "o", "--output-file-name", "cat.png"}),
       "cat.png",
       {{What::kFolder, "o/cat.png"}}},
      {"PerformanceFileIsAFolder", Generate({"--perf-dump-path", "model"}), "model"},
      {"PerformanceFileUnderAFile",
       Generate({"--perf-dump-path", "taken/x.json"}),
       "taken",
       {{What::kWrite, "taken", "x"}}},
      {"PerformanceFileIsADevice", Generate({"--perf-dump-path", "/dev/full"}), "/dev/full"},
      {"ProfileIsAFolder", Generate({"--profile", "model"}), "model"},
      {"ProfileUnderAFile", Generate({"--profile", "taken/x.json"}), "taken", {{What::kWrite, "taken", "x"}}},
      {"ProfileIsADevice", Generate({"--profile", "/dev/full"}), "/dev/full"},
      {"LatentsFileIsAFolder", Generate({"--save-latents", "model"}), "model"},
      {"LatentsFileIsADevice", Generate({"--save-latents", "/dev/full"}), "/dev/full"},
      {"CheckpointIsAFolder", Generate({"--checkpoint", "model"}), "model"},
      {"CheckpointUnderAFile", Generate({"--checkpoint", "taken/run"}), "taken", {{What::kWrite, "taken", "x"}}},
      {"CheckpointIsThere",
       Generate({"--checkpoint", "taken"}),
       "--checkpoint taken: a file of that name is there",
       {{What::kWrite, "taken", "x"}}},
      {"ResumeMissing", Generate({"--resume", "nowhere"}), "--resume: cannot open 'nowhere'"},
      {"ResumeAFolder", Generate({"--resume", "model"}), "--resume: "},
      {"ResumeAText", Generate({"--resume", "taken"}), "not a safetensors file", {{What::kWrite, "taken", "a text"}}},
      {"ResumeAPipe", Generate({"--resume", "taken"}), "taken", {{What::kPipe, "taken"}}},
      {"ResumeWeights", Generate({"--resume", "model/vae/diffusion_pytorch_model.safetensors"}),
       "is no checkpoint: its metadata has no 'tessera_checkpoint'"},
      {"CheckpointEveryAlone", Generate({"--checkpoint-every", "2"}), "there is no --checkpoint"},
      {"CheckpointEveryZero", Generate({"--checkpoint", "run", "--checkpoint-every", "0"}), "--checkpoint-every: '0'"},
      {"FullDisk", Generate({"--output-file-name", "cat.png"}), "cat.png", {}, Confinement::kSmallFiles},

      // Reference pictures.
      {"ReferenceMissing", Generate({"--image-path", "cat.png"}), "cat.png: no such file", {kEditing}},
      {"ReferenceForAModelWithout", Generate({"--image-path", Golden("source.png")}), "--image-path"},
      {"ReferenceEmptyName", Generate({"--image-path", ""}), "--image-path: '' is empty"},
      Reference("ReferenceHugeHeader", {What::kWrite, "cat.png", kHugePng}, "has 50000 x 50000 pixels"),
      Reference("ReferenceIsText", {What::kWrite, "cat.png", "hello"}, "is not a PNG, JPEG or WebP picture"),
      Reference("ReferenceIsEmpty", {What::kWrite, "cat.png", ""}, "is empty"),
      Reference("ReferenceIsAFolder", {What::kFolder, "cat.png"}, "is a folder"),
      Reference("ReferenceIsAPipe", {What::kPipe, "cat.png"}, "is a pipe or device"),
      Reference("ReferenceIsADevice", {What::kLink, "cat.png", "/dev/zero"}, "is a pipe or device"),
      Reference("ReferenceIsAnimated", {What::kLink, "cat.png", Golden("animated.webp")}, "animated"),
      Reference("ReferenceIsTooLarge", {What::kSparse, "cat.png", "1000000000000"}, "too large"),
      {"ReferenceTruncated",
       Generate({"--image-path", "cat.png"}),
       "damaged PNG",
       {kEditing, {What::kLink, "cat.png", Golden("source.png")}, {What::kCut, "cat.png", "400"}}},
      {"ReferenceForbidden",
       Generate({"--image-path", "cat.png"}),
       "permission denied",
       {kEditing, {What::kLink, "cat.png", Golden("source.png")}, {What::kForbid, "cat.png"}},
       Confinement::kPlainUser},

      // Pictures to repeat.
      {"FromImageMissing", {"generate", "--from-image", "cat.png"}, "cat.png: no such file"},
      FromImage("FromImageWithoutText", {What::kLink, "cat.png", Golden("source.png")},
                "holds no generation text of tessera"),
      FromImage("FromImageOfText", {What::kWrite, "cat.png", "hello"}, "is not a PNG"),
      FromImage("FromImageHuge", {What::kWrite, "cat.png", kHugePng}, "50000"),
      FromImage("FromImageBrokenText", {What::kPicture, "cat.png", "{\"prompt\": "}, "its generation text is damaged"),
      FromImage("FromImageTextBomb", {What::kPicture, "cat.png", Repeat("[", 300000)},
                "its generation text is damaged"),
      FromImage("FromImageWithoutPrompt", {What::kPicture, "cat.png", "{}"}, "has no 'prompt'"),
      FromImage("FromImageSizeZero", Saying("\"height\": 64", "\"height\": 0"), "0"),
      FromImage("FromImageSizeAbsurd", Saying("\"width\": 64", "\"width\": 4611686018427387904"),
                "4611686018427387904"),
      FromImage("FromImageSizeAWord", Saying("\"width\": 64", "\"width\": \"x\""), "'width' = \"x\""),
      FromImage("FromImageStepsZero", Saying("\"steps\": 1", "\"steps\": 0"), "steps"),
      FromImage("FromImageStepsAbsurd", Saying("\"steps\": 1", "\"steps\": 9223372036854775807"), "steps"),
      FromImage("FromImageGuidanceNegative", Saying("\"guidance_scale\": 1", "\"guidance_scale\": -1"), "guidance"),
      FromImage("FromImageModelGone", Saying("\"model\": \"model\"", "\"model\": \"gone\""), "gone"),
      FromImage("FromImageBackendUnknown", Saying("\"attention-backend\": \"fa\"", "\"attention-backend\": \"nope\""),
                "nope"),
      FromImage("FromImagePrecisionUnknown", Saying("\"dit-precision\": \"fp32\"", "\"dit-precision\": \"fp61\""),
                "fp61"),
      FromImage("FromImageTokensAWord", Saying("\"max-sequence-length\": \"64\"", "\"max-sequence-length\": \"x\""),
                "max-sequence-length"),
      FromImage("FromImageTileAbsurd", Saying("\"vae-tile-size\": \"512\"", "\"vae-tile-size\": \"1\""),
                "vae-tile-size"),
      FromImage("FromImageReferenceGone", Saying("\"dit-precision\": \"fp32\"", "\"image-path\": \"gone.png\""),
                "image-path"),
      FromImage("FromImageFolder", {What::kFolder, "cat.png"}, "is a folder"),
      FromImage("FromImagePipe", {What::kPipe, "cat.png"}, "is a pipe or device"),
  };
}

}  // namespace tessera
