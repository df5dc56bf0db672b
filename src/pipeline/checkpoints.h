// Saves a run between its steps (--checkpoint) and goes on with a saved one (--resume), to the same bytes.
#pragma once
#include <string>
#include <vector>

#include "base/error.h"
#include "pipeline/checkpoint_file.h"
#include "pipeline/output_files.h"
#include "pipeline/run_state.h"

namespace tessera {

class Checkpoints {
 public:
  // Reads the file of --resume and refuses another job's; `files` get the names that the saved run chose. Refuses a
  // --checkpoint that would replace another file. Throws Error.
  Checkpoints(RunState& run, std::vector<OutputFile>& files);
  ~Checkpoints();
  Checkpoints(const Checkpoints&) = delete;
  Checkpoints& operator=(const Checkpoints&) = delete;

  bool resumes() const noexcept { return resumes_; }
  size_t first_picture() const noexcept { return first_picture_; }

  // In place of the encoding stages. Throws Error{kFormat}.
  void RestoreEncodings();
  // What --save-latents has of the pictures before the first one.
  NamedTensors FinishedLatents() const;

  // Where the picture goes on, and what saves it after its steps; both objects stay where they are until it is done.
  void Attach(size_t index, PictureState& picture, const NamedTensors& finished);
  // Before the first step of a picture. Throws Error when nothing was saved yet and cannot be.
  void SaveBefore(size_t index, const NamedTensors& finished);
  void Remove();  // the run ended well

  // `error` with how to go on, when there is a way.
  Error WithAdvice(const Error& error) const;

 private:
  struct Place {
    int64_t picture = 0, step = 0;
  };
  void Resume(std::vector<OutputFile>& files);
  void RequireFinished(const std::vector<OutputFile>& files) const;
  void RefuseReplacing() const;
  TensorState StateOfRun(const NamedTensors& finished) const;
  void Save(Place place, TensorState state);
  void Tell(Place place);

  RunState& run_;
  JobIdentity job_;
  std::vector<std::string> names_;
  int64_t steps_ = 0;  // of a picture
  bool resumes_ = false, is_saved_ = false;
  bool is_failing_ = false;  // and it was said
  size_t first_picture_ = 0;
  int64_t first_step_ = 0;
  TensorState state_;  // of the run that goes on
  std::string advice_;
};

}  // namespace tessera
