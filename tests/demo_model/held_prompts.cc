#include "demo_model/held_prompts.h"

#include <algorithm>
#include <atomic>
#include <fstream>
#include <future>
#include <stdexcept>
#include <thread>

#include <nlohmann/json.hpp>

#include "media/picture.h"
#include "support/command.h"

namespace tessera::demo {
namespace {

ScoredScene DrawOne(const HeldPrompt& held, const std::vector<std::string>& flags) {
  const testing::TemporaryFolder folder;
  std::vector<std::string> command = {TESSERA_BINARY, "generate", "--prompt",
                                      held.prompt,    "--seed",   std::to_string(held.seed)};
  command.insert(command.end(), {"--output-path", folder.path(), "--output-file-name", "picture.png"});
  command.insert(command.end(), {"--threads", "1", "--log-level", "error"});
  command.insert(command.end(), flags.begin(), flags.end());
  const testing::CommandResult run = testing::RunCommand(command);
  if (run.exit_code != 0) throw std::runtime_error(held.prompt + ": " + run.err);
  const Scene scene = *ParseCaption(held.prompt);
  return {scene, ScorePicture(ReadPicture(folder / "picture.png"), scene)};
}

}  // namespace

std::vector<HeldPrompt> HeldPrompts() {
  std::ifstream file(TESSERA_SOURCE_FOLDER "/tests/golden/demo_prompts.jsonl");
  std::vector<HeldPrompt> prompts;
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json row = nlohmann::json::parse(line);
    prompts.push_back({row["prompt"], row["seed"]});
  }
  return prompts;
}

std::vector<ScoredScene> DrawAndScore(const std::vector<HeldPrompt>& prompts, const std::vector<std::string>& flags) {
  std::vector<ScoredScene> scored(prompts.size());
  std::atomic<size_t> next = 0;
  const auto draw = [&] {
    for (size_t i = next++; i < prompts.size(); i = next++) scored[i] = DrawOne(prompts[i], flags);
  };
  std::vector<std::future<void>> drawing;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    drawing.push_back(std::async(std::launch::async, draw));
  }
  for (std::future<void>& one : drawing) one.get();
  return scored;
}

}  // namespace tessera::demo
