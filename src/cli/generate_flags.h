// The flags of `tessera generate` (and of `tessera explain`, which plans the same jobs) and the request they make.
#pragma once
#include "cli/flags.h"
#include "pipeline/request.h"

namespace tessera {

const FlagTable& GenerateFlags();
const FlagTable& ExplainFlags();
const FlagTable& AttentionSearchFlags();  // those of generate, and how to search
const FlagTable& CompareFlags();          // those of generate, and which backends

// Applies --threads, --isa and --log-level to the process.
void ApplyEngineFlags(const FlagValues& values);

// The request the flags describe; a picture named by --from-image gives what the flags leave open. Prints one line for
// every flag that has no effect here. Throws Error{kUsage, kUnsupported}.
GenerateRequest MakeRequest(const FlagValues& values);

}  // namespace tessera
