// What users and files can do wrong: one row per mistake.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "cli/edited_model.h"
#include "cli/run_program.h"

namespace tessera {

struct Hostile {
  const char* name;
  std::vector<std::string> words;  // the command line, run in the folder that holds "model"
  const char* says;                // part of the one line on stderr
  std::vector<Edit> edits{};
  Confinement confinement = Confinement::kNone;
};

// `tessera generate` with the model in "model" and a job of the smallest size.
std::vector<std::string> Generate(const std::vector<std::string>& more);

std::vector<Hostile> HostileFlags();
std::vector<Hostile> HostileModels();
std::vector<Hostile> HostileFiles();

}  // namespace tessera
