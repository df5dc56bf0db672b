// A table with every kind of flag.
#pragma once
#include "cli/flags.h"

namespace tessera {

inline constexpr Flag kSampleFlags[] = {
    {.name = "prompt", .kind = FlagKind::kStrings, .help = "what to draw"},
    {.name = "negative-prompt", .kind = FlagKind::kText, .help = "what to avoid"},
    {.name = "model-path",
     .kind = FlagKind::kString,
     .help = "model folder",
     .value_name = "FOLDER",
     .aliases = "model"},
    {.name = "height",
     .kind = FlagKind::kInt,
     .help = "rows",
     .when_absent = "the model's own",
     .least = 16,
     .most = 8192},
    {.name = "seed", .kind = FlagKind::kInt, .help = "noise", .default_text = "42", .least = 0},
    {.name = "guidance-scale", .kind = FlagKind::kFloat, .help = "guidance", .least = 0},
    {.name = "warmup", .kind = FlagKind::kBool, .help = "run once before", .default_text = "false"},
    {.name = "save-output", .kind = FlagKind::kBool, .help = "write files", .default_text = "true"},
    {.name = "dit-precision",
     .kind = FlagKind::kChoice,
     .help = "type",
     .default_text = "bf16",
     .choices = "fp32|bf16"},
    {.name = "text-encoder-precisions", .kind = FlagKind::kChoices, .help = "types", .choices = "fp32|fp16|bf16"},
    {.name = "dmd-denoising-steps", .kind = FlagKind::kInts, .help = "steps", .least = 0, .most = 1000},
    {.name = "component-paths", .kind = FlagKind::kTable, .help = "folder of one component"},
};
inline constexpr FlagGroup kSampleGroups[] = {{"sample", kSampleFlags}};
inline constexpr FlagTable kSampleTable{"tessera sample", "draws samples", kSampleGroups};

}  // namespace tessera
