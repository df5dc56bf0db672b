#include "pipeline/job_identity.h"

#include <algorithm>

#include <fmt/format.h>

#include "attention/option_text.h"
#include "base/text.h"
#include "pipeline/job_settings.h"
#include "platform/cpu/cpu.h"
#include "weights/fingerprint.h"

namespace tessera {
namespace {

template <class Value>
std::string Text(const Value& value) {
  return fmt::format("{}", value);
}

void AddPrompts(const RunState& run, JobIdentity& rows) {
  rows.emplace_back("the number of prompts", Text(run.prompts.size()));
  for (size_t i = 0; i < run.prompts.size(); ++i) {
    rows.emplace_back(run.prompts.size() == 1 ? "prompt" : fmt::format("prompt {}", i + 1), run.prompts[i].prompt);
  }
  rows.emplace_back("negative-prompt", run.guided() ? run.request.negative_prompt.value_or("") : "");
}

void AddJob(const RunState& run, JobIdentity& rows) {
  const DenoisingJob& job = run.job;
  const auto add = [&](const char* name, std::string value) { rows.emplace_back(name, std::move(value)); };
  add("seed", Text(run.request.seed));
  add("num-outputs-per-prompt", Text(run.request.num_outputs_per_prompt));
  add("height", Text(job.size.height));
  add("width", Text(job.size.width));
  add("num-inference-steps", Text(job.steps));
  add("guidance-scale", Text(job.guidance_scale));
  for (const auto& [name, value] : JobSettings(run)) add(name.c_str(), value);
}

void AddReferences(const RunState& run, JobIdentity& rows) {
  for (size_t i = 0; i < run.references.size(); ++i) {
    const Picture& picture = run.references[i];
    rows.emplace_back(fmt::format("reference picture {}", i + 1),
                      fmt::format("{}x{} pixels, {}", picture.width, picture.height,
                                  Fingerprint(std::as_bytes(std::span(picture.rgb)))));
  }
}

void AddOutput(const RunState& run, JobIdentity& rows) {
  const GenerateRequest& request = run.request;
  const auto add = [&](const char* name, std::string value) { rows.emplace_back(name, std::move(value)); };
  add("output-file-name", request.output_file_name);
  add("output-format", request.output_format);
  add("output-compression", request.output_quality ? Text(*request.output_quality) : "the format's own");
  add("frames-as", request.frames_as);
  add("save-latents", request.save_latents.empty() ? "absent" : "given");
}

std::string CheckText(const AttentionCheck& check) {
  if (!check.enabled()) return "absent";
  return fmt::format("rate={},tolerance={},seed={},action={}", check.rate,
                     check.tolerance ? Text(*check.tolerance) : "auto", check.seed, static_cast<int>(check.action));
}

// What was chosen for what was asked: the choice may depend on the machine.
void AddAttention(const RunState& run, JobIdentity& rows) {
  rows.emplace_back("attention-check", CheckText(run.request.attention_check));
  std::map<std::string, std::string> chosen;
  for (const AttentionRecord& record : run.attention.Records()) {
    chosen[fmt::format("attention of {}.{}", record.site.component, Name(record.site.role))] +=
        fmt::format("{} ({}) for '{}' x{}; ", record.backend->name, PrintOptions(*record.backend, record.options),
                    Print(record.problem), record.layers);
  }
  rows.insert(rows.end(), chosen.begin(), chosen.end());
}

void AddMachine(JobIdentity& rows) {
  rows.emplace_back("the instruction set (--isa)", std::string(Name(ActiveIsa())));
  rows.emplace_back("the arithmetic of bf16 products", Bf16DotPays() ? "bf16" : "f32");
}

}  // namespace

JobIdentity IdentityOf(const RunState& run) {
  JobIdentity rows = {{"the version of tessera", TESSERA_VERSION}, {"model-path", run.folder.name()}};
  AddPrompts(run, rows);
  AddJob(run, rows);
  AddReferences(run, rows);
  AddOutput(run, rows);
  const std::string scheduler = run.folder.SchedulerConfig().json().dump();
  rows.emplace_back("the scheduler's configuration", Fingerprint(std::as_bytes(std::span(scheduler))));
  for (const auto& [file, print] : FingerprintModel(run.folder.path())) rows.emplace_back(file, print);
  AddMachine(rows);
  AddAttention(run, rows);
  for (auto& [name, value] : rows) {
    if (!IsUtf8(value)) value = Printable(value, value.size() * 4);
  }
  return rows;
}

std::string FirstDifference(const JobIdentity& here, const JobIdentity& before) {
  const auto find = [](const JobIdentity& rows, const std::string& name) {
    return std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.first == name; });
  };
  for (const auto& [name, value] : here) {
    const auto known = find(before, name);
    if (known == before.end())
      return fmt::format("{} is '{}' here and was not there before", name, Printable(value, 80));
    if (known->second == value) continue;
    return fmt::format("{} is '{}' here and was '{}'", name, Printable(value, 80), Printable(known->second, 80));
  }
  for (const auto& [name, value] : before) {
    if (find(here, name) == here.end())
      return fmt::format("{} was '{}' and is not there now", name, Printable(value, 80));
  }
  return "";
}

}  // namespace tessera
