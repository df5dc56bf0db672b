#include "pipeline/trace_file.h"

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"

namespace tessera {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 20;

double Microseconds(int64_t ns) { return static_cast<double>(ns) / 1e3; }

// JSON text of a string that may have been cut inside a character.
std::string Quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

std::string EventName(const TraceEvent& event) {
  const bool is_numbered = IsOuter(event.kind) && event.index >= 0;
  return is_numbered ? fmt::format("{} {}", event.name, event.index) : event.name;
}

// What was done: the share `density` of the operations.
double DoneFlops(const TraceEvent& event) { return event.flops * static_cast<double>(event.density); }

std::string EventArguments(const TraceEvent& event) {
  std::string text;
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{}\"{}\":{}", text.empty() ? "" : ",", name, value);
  };
  if (event.place[0] != '\0') add(event.kind == TraceKind::kAttention ? "site" : "what", Quoted(event.place));
  if (!IsOuter(event.kind) && event.index >= 0) add("layer", std::to_string(event.index));
  const auto names = SizeNames(event.kind);
  for (size_t i = 0; i < names.size(); ++i) add(names[i], std::to_string(event.sizes[i]));
  if (event.kind == TraceKind::kAttention) add("density", fmt::format("{:.6g}", event.density));
  if (event.flops > 0 && event.end_ns > event.begin_ns) {
    add("gflop", fmt::format("{:.6g}", DoneFlops(event) / 1e9));
    add("gflop_per_s", fmt::format("{:.4g}", DoneFlops(event) / static_cast<double>(event.end_ns - event.begin_ns)));
  }
  return text;
}

// The events of one file, handed over a megabyte at a time.
class TracePrinter {
 public:
  TracePrinter(const TraceRecorder& recorder, const std::function<void(std::string_view)>& write)
      : recorder_(recorder), write_(write), process_(::getpid()), end_(recorder.NowNs()) {}

  void Print(const std::string& model) {
    text_ = fmt::format(
        "{{\"displayTimeUnit\":\"ms\",\n\"otherData\":{{\"program\":{},\"model\":{},\"events\":{},\"dropped_events\":{}"
        "}},\n"
        "\"traceEvents\":[\n",
        Quoted(std::string("tessera ") + TESSERA_VERSION), Quoted(model), recorder_.events().size(),
        recorder_.dropped());
    AddNames();
    for (const TraceEvent& event : recorder_.events()) AddSpan(event);
    for (const MemorySample& sample : recorder_.memory()) AddMemory(sample);
    if (recorder_.dropped() > 0) AddDropped();
    text_ += "\n]}\n";
    write_(text_);
  }

 private:
  void Add(const std::string& event) {
    text_ += (is_first_ ? "" : ",\n") + event;
    is_first_ = false;
    if (text_.size() < kPieceBytes) return;
    write_(text_);
    text_.clear();
  }

  void AddNames() {
    const auto add = [&](std::string_view what, size_t thread, const std::string& name) {
      Add(fmt::format("{{\"ph\":\"M\",\"pid\":{},\"tid\":{},\"name\":\"{}\",\"args\":{{\"name\":\"{}\"}}}}", process_,
                      thread, what, name));
    };
    add("process_name", 1, "tessera");
    for (size_t i = 0; i < recorder_.threads(); ++i) {
      add("thread_name", i + 1, i == 0 ? std::string("main") : fmt::format("thread {}", i + 1));
    }
  }

  void AddSpan(const TraceEvent& event) {
    const int64_t end = event.end_ns < 0 ? end_ : event.end_ns;
    Add(
        fmt::format("{{\"ph\":\"X\",\"pid\":{},\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f},\"cat\":\"{}\",\"name\":{},"
                    "\"args\":{{{}}}}}",
                    process_, event.thread + 1, Microseconds(event.begin_ns), Microseconds(end - event.begin_ns),
                    Name(event.kind), Quoted(EventName(event)), EventArguments(event)));
  }

  void AddMemory(const MemorySample& sample) {
    Add(fmt::format(
        "{{\"ph\":\"C\",\"pid\":{},\"ts\":{:.3f},\"name\":\"resident memory\",\"args\":{{\"MiB\":{:.2f}}}}}", process_,
        Microseconds(sample.at_ns), static_cast<double>(sample.bytes) / (1 << 20)));
  }

  void AddDropped() {
    const auto events = recorder_.events();
    Add(
        fmt::format("{{\"ph\":\"i\",\"s\":\"g\",\"pid\":{},\"tid\":1,\"ts\":{:.3f},\"name\":\"the trace is full: {} "
                    "later events were dropped\"}}",
                    process_, Microseconds(events.empty() ? 0 : events.back().begin_ns), recorder_.dropped()));
  }

  const TraceRecorder& recorder_;
  const std::function<void(std::string_view)>& write_;
  int process_;
  int64_t end_;
  std::string text_;
  bool is_first_ = true;
};

}  // namespace

void PrintTrace(const TraceRecorder& recorder, const std::string& model,
                const std::function<void(std::string_view)>& write) {
  TracePrinter(recorder, write).Print(model);
}

void WriteTrace(const TraceRecorder& recorder, const std::string& model, const std::filesystem::path& path) {
  AtomicFile file(path);
  PrintTrace(recorder, model, [&](std::string_view text) { file.Write(std::as_bytes(std::span(text))); });
  file.Commit();
}

}  // namespace tessera
