// A saved run goes on as itself only: every setting that would change its bytes is named.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "pipeline/checkpoint_file.h"
#include "resume/small_job.h"
#include "support/distilled_model.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/";
const SmallJob kPicture{"picture",
                        "flux2_klein_tiny",
                        {"--prompt", "a blue owl", "--height", "48", "--width", "80", "--num-inference-steps", "3",
                         "--seed", "5", "--output-file-name", "owl.png", "--num-outputs-per-prompt", "2"},
                        6};

// Stopped after the second step of the first picture, unless another number is given.
class SavedJob {
 public:
  explicit SavedJob(const SmallJob& job = kPicture, int steps = 2) : job_(job) {
    EXPECT_THAT(RunJob(job_, folder_, Saving(folder_), steps).error, HasSubstr("stopped"));
  }
  std::string path() const { return folder_ / kCheckpointName; }
  const TemporaryFolder& folder() const { return folder_; }
  std::string Resume(Words more = {}) const {
    for (const std::string& word : SavingAndResuming(folder_)) more.push_back(word);
    const std::string error = RunJob(job_, folder_, more).error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    return error;
  }

 private:
  const SmallJob job_;
  const TemporaryFolder folder_;
};

TEST(ResumeRefuses, AnyOtherJob) {
  const SavedJob saved;
  const std::pair<Words, std::string> changes[] = {
      {{"--seed", "6"}, "seed is '6' here and was '5'"},
      {{"--prompt", "a red owl"}, "prompt is 'a red owl' here and was 'a blue owl'"},
      {{"--prompt", "a blue owl", "a cat"}, "the number of prompts is '2' here and was '1'"},
      {{"--height", "64"}, "height is '64' here and was '48'"},
      {{"--width", "64"}, "width is '64' here and was '80'"},
      {{"--num-inference-steps", "4"}, "num-inference-steps is '4' here and was '3'"},
      {{"--num-outputs-per-prompt", "3"}, "num-outputs-per-prompt is '3' here and was '2'"},
      {{"--guidance-scale", "2"}, "guidance-scale is '2' here"},
      {{"--max-sequence-length", "64"}, "max-sequence-length is '64'"},
      {{"--vae-precision", "bf16"}, "vae-precision is 'bf16' here and was 'f32'"},
      {{"--dit-precision", "bf16"}, "dit-precision is 'bf16'"},
      {{"--text-encoder-precisions", "bf16"}, "text-encoder-precisions is 'bf16'"},
      {{"--vae-tiling", "true"}, "vae-tile-size is '512' here and was not there before"},
      {{"--attention-backend", "torch_sdpa"}, "attention-backend is 'torch_sdpa' here and was 'auto'"},
      {{"--component-attention-backends", "vae=torch_sdpa"}, "component-attention-backends"},
      {{"--attention-fidelity", "quantized"}, "attention-fidelity"},
      {{"--attention-check", "rate=0.1"}, "attention-check"},
      {{"--image-path", kGolden + "flux2_klein_tiny/edit_ref0.png"}, "image-path"},
      {{"--output-file-name", "cat.png"}, "output-file-name is 'cat.png' here and was 'owl.png'"},
      {{"--output-compression", "50"}, "output-compression"},
  };
  for (const auto& [flags, expected] : changes) {
    EXPECT_THAT(saved.Resume(flags), AllOf(HasSubstr("--resume " + saved.path() + ": is of another job: "),
                                           HasSubstr(expected), HasSubstr("the same settings as before would work")));
  }
  EXPECT_EQ(saved.Resume({"--threads", "1"}), "");
}

TEST(ResumeRefuses, OtherTimestepsOfADistilledFilm) {
  const TemporaryFolder model;
  ComposeDistilledModel(DistilledJob("fast"), model / "fast");
  const std::string path = model / "fast";
  const SmallJob job{
      "dmd",
      path.c_str(),
      {"--prompt", "a fox", "--height", "32", "--width", "32", "--num-frames", "5", "--output-file-name", "film.webp"},
      3};
  const SavedJob saved(job);
  EXPECT_THAT(saved.Resume({"--dmd-denoising-steps", "1000,757,500"}),
              HasSubstr("dmd-denoising-steps is '1000,757,500' here and was '1000,757,522'"));
  EXPECT_EQ(saved.Resume({"--dmd-denoising-steps", "1000,757,522"}), "");
}

// A copy of the model whose files can be changed.
class CopiedModel {
 public:
  CopiedModel() { fs::copy(ModelFolderOf(kPicture), folder_ / "model", fs::copy_options::recursive); }
  SmallJob Job() const {
    SmallJob job = kPicture;
    job.model = path_.c_str();
    return job;
  }
  // Changes a byte, or adds a space to a configuration.
  void Change(const std::string& name) const {
    const std::string path = path_ + "/" + name;
    std::string bytes = ReadWholeFile(path, size_t{1} << 28);
    if (path.ends_with(".json")) {
      bytes += " ";
    } else {
      bytes[bytes.size() - 7] = static_cast<char>(bytes[bytes.size() - 7] ^ 1);
    }
    std::ofstream(path, std::ios::binary) << bytes;
  }

 private:
  const TemporaryFolder folder_;
  const std::string path_ = folder_ / "model";
};

TEST(ResumeRefuses, ACheckpointFolderThatChanged) {
  for (const std::string name :
       {"transformer/config.json", "tokenizer/tokenizer.json", "model_index.json",
        "vae/diffusion_pytorch_model.safetensors", "transformer/diffusion_pytorch_model.safetensors"}) {
    const CopiedModel model;
    const SavedJob saved(model.Job());
    model.Change(name);
    EXPECT_THAT(saved.Resume(), AllOf(HasSubstr("is of another job: " + name), HasSubstr("bytes")));
  }
}

TEST(ResumeRefuses, AnotherModelAndAnotherReference) {
  const CopiedModel model;
  const SavedJob saved(model.Job());
  const Words other = {"--resume", saved.path()};
  EXPECT_THAT(RunJob(kPicture, saved.folder(), other).error, HasSubstr("model-path is"));

  const TemporaryFolder pictures;
  const std::string reference = pictures / "reference.png";
  SmallJob edit = kPicture;
  edit.words.insert(edit.words.end(), {"--image-path", reference});
  fs::copy_file(kGolden + "flux2_klein_tiny/edit_ref0.png", reference);
  const SavedJob edited(edit);
  fs::copy_file(kGolden + "flux2_klein_tiny/edit2_ref1.png", reference, fs::copy_options::overwrite_existing);
  EXPECT_THAT(edited.Resume(), HasSubstr("reference picture 1 is"));
}

TEST(ResumeRefuses, AFinishedOutputThatIsGone) {
  const SavedJob saved(kPicture, 4);
  fs::remove(saved.folder() / "owl_0.png");
  EXPECT_THAT(saved.Resume(), AllOf(HasSubstr("1 of 2 outputs were finished before"), HasSubstr("owl_0.png' is not")));
}

TEST(CheckpointRefuses, ToReplaceAFile) {
  const SavedJob saved;
  const std::string before = ReadWholeFile(saved.path(), size_t{1} << 28);
  EXPECT_THAT(RunJob(kPicture, saved.folder(), Saving(saved.folder())).error,
              HasSubstr("a file of that name is there; --resume " + saved.path() + " goes on"));
  EXPECT_EQ(ReadWholeFile(saved.path(), size_t{1} << 28), before);
}

TEST(CheckpointRefuses, PlacesThatCannotBeWrittenBeforeTheWork) {
  const TemporaryFolder folder;
  const Ran ran = RunJob(kPicture, folder, {"--checkpoint", "/proc/nothing/run"});
  EXPECT_THAT(ran.error, HasSubstr("'/proc/nothing/run'"));
  EXPECT_EQ(ran.steps, 0);
  EXPECT_THAT(RunJob(kPicture, folder, {"--checkpoint-every", "2"}).error, HasSubstr("there is no --checkpoint"));
}

// The saved run with a change, going on.
std::string ResumeChanged(const std::function<void(SavedRun&)>& change) {
  const SavedJob job;
  SavedRun saved = ReadCheckpoint(job.path());
  change(saved);
  WriteCheckpoint(job.path(), saved);
  return job.Resume();
}

void Replace(SavedRun& saved, const std::string& name, const Tensor& by) {
  TensorState state;
  bool found = false;
  for (const auto& [known, tensor] : saved.state.tensors()) {
    found |= known == name;
    if (known != name || by.defined()) state.Add(known, known == name ? by : tensor);
  }
  EXPECT_TRUE(found) << name;
  saved.state = std::move(state);
}

TEST(ResumeRefuses, AStateThatDoesNotFitTheJob) {
  EXPECT_EQ(ResumeChanged([](SavedRun&) {}), "");
  EXPECT_THAT(ResumeChanged([](SavedRun& run) { run.step = 4; }), HasSubstr("is at step 4 of picture 1 of 2"));
  EXPECT_THAT(ResumeChanged([](SavedRun& run) { run.picture = 2; }), HasSubstr("of picture 3 of 2"));
  EXPECT_THAT(ResumeChanged([](SavedRun& run) { run.files.pop_back(); }), HasSubstr("of picture 1 of 1"));
  for (const std::string name : {"prompt_0", "counts.numbers", "picture.latents", "picture.latents_1"}) {
    const std::string rest = name.substr(name.find('.') + 1);
    EXPECT_THAT(ResumeChanged([&](SavedRun& run) { Replace(run, name, Tensor()); }),
                HasSubstr("no tensor '" + rest + "'"));
    EXPECT_THAT(ResumeChanged([&](SavedRun& run) {
                  Replace(run, name, Tensor::Zeros({2, 2}, DType::kBF16));
                }),
                HasSubstr("tensor '" + rest + "' is bf16 [2, 2], not"));
  }
  const auto valid = [](SavedRun& run) {
    TensorState number;
    number.AddNumber("prompt_0_valid", 1 << 20);
    Replace(run, "prompt_0_valid", number.Get("prompt_0_valid"));
  };
  EXPECT_THAT(ResumeChanged(valid), HasSubstr("'prompt_0_valid' is 1048576; 0 to"));
}

}  // namespace
}  // namespace tessera::testing
