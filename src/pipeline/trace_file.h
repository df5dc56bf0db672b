// A recorded run as a file for ui.perfetto.dev and chrome://tracing: JSON in Chrome's trace event format.
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/trace.h"

namespace tessera {

// Complete events ("X", microseconds) on a track per thread, a counter of resident memory, names of process and
// threads. `otherData` has the model and how many events were recorded and dropped; dropped ones are also marked at the
// time of the last event. Given to `write` in pieces.
void PrintTrace(const TraceRecorder& recorder, const std::string& model,
                const std::function<void(std::string_view)>& write);

// The file appears whole or not at all. Throws Error{kIo}.
void WriteTrace(const TraceRecorder& recorder, const std::string& model, const std::filesystem::path& path);

}  // namespace tessera
