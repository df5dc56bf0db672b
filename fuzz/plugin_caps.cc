// Any data sheet of a plug-in either is refused with a one-line message or becomes a backend that can be printed, asked
// for its options and compared with problems.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "attention/plugin.h"
#include "attention/report.h"
#include "attention/rules.h"
#include "base/error.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

int CreateNothing(const tessera_attention_problem*, const tessera_attention_setting*, uint32_t,
                  tessera_attention_plan**, char*, size_t) {
  return TESSERA_ATTENTION_FAILED;
}
size_t NoBytes(const tessera_attention_plan*) { return 0; }
int RunNothing(tessera_attention_plan*, const tessera_attention_io*, void*, char*, size_t) {
  return TESSERA_ATTENTION_FAILED;
}
void DestroyNothing(tessera_attention_plan*) {}

// Takes values from the front of the input; zeros when it is used up.
class Input {
 public:
  Input(const uint8_t* bytes, size_t size) : at_(bytes), left_(size) {}

  template <class Number>
  Number Take() {
    Number number{};
    const size_t bytes = std::min(sizeof number, left_);
    std::memcpy(&number, at_, bytes);
    at_ += bytes;
    left_ -= bytes;
    return number;
  }
  // A sane value, unless the input says otherwise: random fields alone would never get past the first check.
  template <class Number>
  Number Or(Number sane) {
    return Take<uint8_t>() < 200 ? sane : Take<Number>();
  }
  // Null, or a text in memory of just its size.
  const char* Text(const char* sane) {
    const uint8_t kind = Take<uint8_t>();
    if (kind < 120) return sane;
    if (kind < 130) return nullptr;
    const size_t length = std::min<size_t>(kind < 250 ? Take<uint8_t>() : Take<uint16_t>(), left_);
    std::vector<char>& text = texts_.emplace_back(at_, at_ + length);
    text.push_back('\0');
    at_ += length;
    left_ -= length;
    return text.data();
  }

 private:
  const uint8_t* at_;
  size_t left_;
  std::deque<std::vector<char>> texts_;
};

tessera_attention_option TakeOption(Input& input) {
  tessera_attention_option option{};
  option.struct_size = input.Or<uint32_t>(sizeof option);
  option.kind = input.Take<uint8_t>() % 5;
  option.key = input.Text("key");
  option.help = input.Text("help");
  option.default_value = input.Text(option.kind == TESSERA_ATTENTION_OPTION_BOOL ? "true" : "1");
  option.has_range = input.Take<uint8_t>() % 2;
  option.least = input.Or(0.0);
  option.most = input.Or(2.0);
  option.choices = input.Take<uint8_t>() % 2 == 0 ? nullptr : input.Text("1|2");
  return option;
}

tessera_attention_backend TakeBackend(Input& input) {
  tessera_attention_backend backend{};
  backend.struct_size = input.Or<uint32_t>(sizeof backend);
  backend.devices = input.Or<uint32_t>(TESSERA_ATTENTION_CPU);
  backend.dtypes = input.Or<uint32_t>(TESSERA_ATTENTION_F32);
  backend.masks = input.Or<uint32_t>(TESSERA_ATTENTION_CAUSAL);
  backend.abilities = input.Or<uint32_t>(TESSERA_ATTENTION_LSE);
  backend.fidelity = input.Or<uint32_t>(TESSERA_ATTENTION_SPARSE);
  backend.name = input.Text("name");
  backend.summary = input.Text("summary");
  backend.head_dim_least = input.Or(8);
  backend.head_dim_most = input.Or(64);
  backend.head_dim_step = input.Or(8);
  backend.speed = input.Or(1.0);
  backend.plan_create = input.Take<uint8_t>() < 250 ? CreateNothing : nullptr;
  backend.plan_workspace = NoBytes;
  backend.plan_run = RunNothing;
  backend.plan_destroy = DestroyNothing;
  return backend;
}

void CheckAccepted(const tessera::AttentionBackend& backend) {
  using namespace tessera;
  Require(!backend.name.empty() && backend.caps.head_dims.smallest >= 1 && backend.caps.head_dims.step >= 1);
  ResolveOptions(backend, {});
  for (const char* line : {"f32 b1 h1/1 d8 q4 kv4", "bf16 b2 h6/3 d64 q7 kv9 mask=causal+lens lse"}) {
    const AttentionProblem problem = ParseAttentionProblem(line);
    Refusals(backend, problem, {});
    Require(SpeedOf(backend, problem, {}) > 0);
  }
  const AttentionBackend* const all[] = {&backend};
  Require(!PrintBackends(all, ReportFormat::kMarkdown).empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  Input input(bytes, size);
  const uint32_t count = input.Or<uint32_t>(2);
  const tessera_attention_option options[] = {TakeOption(input), TakeOption(input)};
  const tessera_attention_option* const listed[] = {&options[0], &options[1]};
  tessera_attention_backend backend = TakeBackend(input);
  backend.option_count = count <= 2 || count > 64 ? count : 2;  // a count beyond the list is the library's own crash
  backend.options = listed;
  const tessera_attention_backend* const backends[] = {&backend};
  const tessera_attention_library library{sizeof library, 1, backends};
  try {
    const tessera::AttentionPlugin plugin("fuzz.so", &library);
    CheckAccepted(*plugin.backends()[0]);
  } catch (const tessera::Error& error) {
    const std::string_view message = error.what();
    Require(!message.empty() && message.size() < 4000 && message.find_first_of("\r\n") == std::string_view::npos);
  }
  return 0;
}
