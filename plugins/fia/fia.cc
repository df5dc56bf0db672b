// The backend `fia_npu`: Ascend's FusedInferAttentionScore on an NPU. Operands lie in host memory and are copied to the
// device and back.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "fia/ascend.h"
#include "staging.h"

namespace {

using vendor::Fail;

constexpr int32_t kWidthStep = 16;  // the operator wants head dims of whole sixteens
constexpr int64_t kMaskSide = 2048;
constexpr int64_t kMostPackedTokens = 1048576;
constexpr int32_t kMostSequences = 4096;
constexpr int64_t kTopLeft = 2, kBottomRight = 3;  // sparseMode
constexpr int64_t kHighPrecision = 0, kHighPrecisionEmptyRows = 2;

// Opened once, when a backend is first asked for; read only afterwards.
const vendor::Ascend& Vendor() {
  static const vendor::Ascend ascend;
  return ascend;
}

class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory() {
    if (at_ != nullptr) Vendor().Release(at_);
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  int Reserve(size_t bytes) noexcept { return Vendor().Allocate(&at_, std::max<size_t>(bytes, 1)); }
  void* at() const noexcept { return at_; }

 private:
  void* at_ = nullptr;
};

bool Has(const tessera_attention_problem& problem, uint32_t mask) noexcept { return (problem.mask & mask) != 0; }

const char* CheckPacked(const tessera_attention_problem& p) noexcept {
  if (p.dtype != TESSERA_ATTENTION_BF16) return "packed sequences need bf16";
  if (p.head_dim != 128) return "packed sequences need head dim 128";
  if (Has(p, TESSERA_ATTENTION_CAUSAL_TOP_LEFT)) return "packed sequences have bottom-right causal masks only";
  if (p.q_len > kMostPackedTokens || p.kv_len > kMostPackedTokens) return "more than 1048576 packed tokens";
  return nullptr;
}

const char* Check(const tessera_attention_problem* problem) {
  const tessera_attention_problem& p = *problem;
  if (!Vendor().missing().empty()) return Vendor().missing().c_str();
  if (p.heads > 256) return "more than 256 heads";
  if (p.heads / p.kv_heads > 64) return "more than 64 query heads share a kv head";
  if (p.batch > 65536) return "more than 65536 batch entries";
  const bool causal = Has(p, TESSERA_ATTENTION_CAUSAL), top_left = Has(p, TESSERA_ATTENTION_CAUSAL_TOP_LEFT);
  // The operator would align the diagonal with the shown keys.
  if (causal && Has(p, TESSERA_ATTENTION_KEY_LENGTHS)) return "bottom-right causal mask with key lengths";
  if (Has(p, TESSERA_ATTENTION_VARLEN)) return CheckPacked(p);
  // One query takes the decoding branch, which knows no mask; from the bottom right it sees every key anyway.
  if (p.q_len == 1 && top_left && p.kv_len > 1) return "top-left causal mask of a single query";
  return nullptr;
}

}  // namespace

struct tessera_attention_plan {
  tessera_attention_problem problem{};
  int device = 0, version = 0;
  vendor::Rows queries, keys;
  DeviceMemory q, k, v, out, lse, mask;
  vendor::Ascend::Scratch scratch;
  void* stream = nullptr;

  tessera_attention_plan() = default;
  ~tessera_attention_plan() {
    if (scratch.at != nullptr) Vendor().Release(scratch.at);
    if (stream != nullptr) Vendor().DestroyStream(stream);
  }
  tessera_attention_plan(const tessera_attention_plan&) = delete;
  tessera_attention_plan& operator=(const tessera_attention_plan&) = delete;

  bool packed() const noexcept { return Has(problem, TESSERA_ATTENTION_VARLEN); }
  bool masks() const noexcept {
    const bool causal = Has(problem, TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_CAUSAL_TOP_LEFT);
    return causal && (packed() || problem.q_len > 1);
  }
  size_t LseBytes() const noexcept {
    return sizeof(float) * static_cast<size_t>(problem.batch * problem.heads * problem.q_len);
  }
  // Rows of the workspace: an operand, the sums or the mask; before them the lengths of both sides.
  size_t LengthBytes() const noexcept {
    const int64_t most = packed() ? kMostSequences : problem.batch;
    return (2 * sizeof(int64_t) * static_cast<size_t>(most) + 63) / 64 * 64;
  }
  size_t StagingBytes() const noexcept {
    return std::max({queries.bytes(), keys.bytes(), problem.needs_lse != 0 ? LseBytes() : 0});
  }
};

namespace {

int Acl(int status, const char* what, char* error, size_t error_bytes) noexcept {
  if (status == vendor::kAclSuccess) return TESSERA_ATTENTION_OK;
  return Fail(TESSERA_ATTENTION_FAILED, error, error_bytes, "%s: status %d %s", what, status, Vendor().LastError());
}

// "auto" is 0, "v3" is 3.
int VersionSetting(const tessera_attention_setting* settings, uint32_t count) noexcept {
  for (uint32_t i = 0; i < count; ++i) {
    if (std::strcmp(settings[i].key, "operator") == 0 && settings[i].value[0] == 'v') return settings[i].value[1] - '0';
  }
  return 0;
}

// True strictly above the diagonal: the operator hides what the mask says.
int UploadMask(tessera_attention_plan& plan) {
  const auto mask = std::make_unique<uint8_t[]>(kMaskSide * kMaskSide);
  for (int64_t i = 0; i < kMaskSide; ++i) std::fill_n(&mask[i * kMaskSide + i + 1], kMaskSide - i - 1, uint8_t{1});
  if (const int status = plan.mask.Reserve(kMaskSide * kMaskSide)) return status;
  return Vendor().ToDevice(plan.mask.at(), mask.get(), kMaskSide * kMaskSide);
}

int ReserveAll(tessera_attention_plan& plan) noexcept {
  for (const auto& [memory, bytes] : {std::pair{&plan.q, plan.queries.bytes()},
                                      std::pair{&plan.out, plan.queries.bytes()}, std::pair{&plan.k, plan.keys.bytes()},
                                      std::pair{&plan.v, plan.keys.bytes()}, std::pair{&plan.lse, plan.LseBytes()}}) {
    if (const int status = memory->Reserve(bytes)) return status;
  }
  return vendor::kAclSuccess;
}

int CreatePlan(const tessera_attention_problem* problem, const tessera_attention_setting* settings, uint32_t count,
               tessera_attention_plan** plan, char* error, size_t error_bytes) {
  if (const char* reason = Check(problem)) return Fail(TESSERA_ATTENTION_UNSUPPORTED, error, error_bytes, "%s", reason);
  auto made = std::make_unique<tessera_attention_plan>();
  made->problem = *problem;
  made->device = static_cast<int>(vendor::IntSetting(settings, count, "device"));
  const int asked = VersionSetting(settings, count);
  made->version = asked == 0 ? Vendor().preferred() : asked;
  if (!Vendor().Has(made->version)) {
    return Fail(TESSERA_ATTENTION_UNSUPPORTED, error, error_bytes, "this CANN has no v%d of the operator", asked);
  }
  const int32_t padded = (problem->head_dim + kWidthStep - 1) / kWidthStep * kWidthStep;
  made->queries = vendor::QueryRows(*problem, padded);
  made->keys = vendor::KeyRows(*problem, padded);
  const auto acl = [&](int status, const char* what) { return Acl(status, what, error, error_bytes); };
  if (const int code = acl(Vendor().Start(made->device), "starting the device")) return code;
  if (const int code = acl(Vendor().CreateStream(&made->stream), "starting a stream")) return code;
  if (acl(ReserveAll(*made), "reserving device memory") != 0) return TESSERA_ATTENTION_NO_MEMORY;
  if (made->masks()) {
    if (const int code = acl(UploadMask(*made), "copying the mask")) return code;
  }
  *plan = made.release();
  return TESSERA_ATTENTION_OK;
}

size_t WorkspaceOf(const tessera_attention_plan* plan) { return plan->LengthBytes() + plan->StagingBytes(); }

int Upload(tessera_attention_plan& plan, const tessera_attention_io& io, uint16_t* staging) noexcept {
  const auto upload = [&](const tessera_attention_input& from, const vendor::Rows& rows, const int32_t* lengths,
                          const DeviceMemory& to) {
    vendor::Pack(from, rows, lengths, staging);
    return Vendor().ToDevice(to.at(), staging, rows.bytes());
  };
  const int32_t* shown = Has(plan.problem, TESSERA_ATTENTION_KEY_LENGTHS) ? io.key_lengths : nullptr;
  if (const int status = upload(io.q, plan.queries, nullptr, plan.q)) return status;
  if (const int status = upload(io.k, plan.keys, shown, plan.k)) return status;
  return upload(io.v, plan.keys, shown, plan.v);
}

// `lengths` has room for those of the queries, then those of the keys.
void SetLengths(const tessera_attention_plan& plan, const tessera_attention_io& io, int64_t* lengths,
                vendor::AscendCall* call) noexcept {
  if (plan.packed()) {  // cumulative ends, without the leading 0
    call->length_count = static_cast<uint64_t>(io.sequences);
    for (int32_t s = 0; s < io.sequences; ++s) {
      lengths[s] = io.cu_seqlens_q[s + 1];
      lengths[io.sequences + s] = io.cu_seqlens_kv[s + 1];
    }
    call->lengths_q = lengths;
    call->lengths_kv = lengths + io.sequences;
  } else if (Has(plan.problem, TESSERA_ATTENTION_KEY_LENGTHS)) {
    call->length_count = static_cast<uint64_t>(plan.problem.batch);
    std::copy_n(io.key_lengths, plan.problem.batch, lengths);
    call->lengths_kv = lengths;
  }
}

bool MayHaveEmptyRows(const tessera_attention_problem& p) noexcept {
  const bool short_keys = Has(p, TESSERA_ATTENTION_CAUSAL) && p.q_len > p.kv_len;
  return short_keys || Has(p, TESSERA_ATTENTION_KEY_LENGTHS | TESSERA_ATTENTION_VARLEN);
}

vendor::AscendCall Describe(const tessera_attention_plan& plan, const tessera_attention_io& io,
                            int64_t* lengths) noexcept {
  const tessera_attention_problem& p = plan.problem;
  vendor::AscendCall call;
  call.type = p.dtype == TESSERA_ATTENTION_BF16 ? vendor::AclType::kBFloat16 : vendor::AclType::kFloat16;
  call.layout = plan.packed() ? "TND" : "BSND";
  call.batch = p.batch;
  call.q_len = p.q_len;
  call.kv_len = p.kv_len;
  call.heads = p.heads;
  call.kv_heads = p.kv_heads;
  call.width = plan.queries.padded;
  call.q = plan.q.at();
  call.k = plan.k.at();
  call.v = plan.v.at();
  call.out = plan.out.at();
  call.lse = p.needs_lse != 0 ? static_cast<float*>(plan.lse.at()) : nullptr;
  call.scale = static_cast<double>(p.scale);
  if (plan.masks()) {
    call.mask = plan.mask.at();
    call.sparse_mode = Has(p, TESSERA_ATTENTION_CAUSAL) ? kBottomRight : kTopLeft;
  }
  call.inner_precise = MayHaveEmptyRows(p) ? kHighPrecisionEmptyRows : kHighPrecision;
  SetLengths(plan, io, lengths, &call);
  return call;
}

// [q_len, heads] of packed sequences to [heads, q_len].
void Transpose(const tessera_attention_problem& p, const float* from, float* to) noexcept {
  for (int64_t token = 0; token < p.q_len; ++token) {
    for (int32_t head = 0; head < p.heads; ++head) to[head * p.q_len + token] = from[token * p.heads + head];
  }
}

int Download(const tessera_attention_plan& plan, const tessera_attention_io& io, void* staging) noexcept {
  if (const int status = Vendor().ToHost(staging, plan.out.at(), plan.queries.bytes())) return status;
  vendor::Unpack(static_cast<const uint16_t*>(staging), plan.queries, io.out);
  if (io.lse == nullptr) return vendor::kAclSuccess;
  if (!plan.packed()) return Vendor().ToHost(io.lse, plan.lse.at(), plan.LseBytes());
  if (const int status = Vendor().ToHost(staging, plan.lse.at(), plan.LseBytes())) return status;
  Transpose(plan.problem, static_cast<const float*>(staging), io.lse);
  return vendor::kAclSuccess;
}

int RunPlan(tessera_attention_plan* plan, const tessera_attention_io* io, void* workspace, char* error,
            size_t error_bytes) {
  if (io->sequences > kMostSequences) {
    return Fail(TESSERA_ATTENTION_UNSUPPORTED, error, error_bytes, "%d packed sequences, at most 4096 are possible",
                io->sequences);
  }
  const auto acl = [&](int status, const char* what) { return Acl(status, what, error, error_bytes); };
  auto* lengths = static_cast<int64_t*>(workspace);
  auto* staging = reinterpret_cast<uint16_t*>(static_cast<std::byte*>(workspace) + plan->LengthBytes());
  if (const int code = acl(Vendor().UseDevice(plan->device), "choosing the device")) return code;
  if (const int code = acl(Upload(*plan, *io, staging), "copying to the device")) return code;
  const vendor::AscendCall call = Describe(*plan, *io, lengths);
  const int status = Vendor().Run(call, plan->version, &plan->scratch, plan->stream);
  if (const int code = acl(status, "FusedInferAttentionScore")) return code;
  if (const int code = acl(Download(*plan, *io, staging), "copying from the device")) return code;
  vendor::ClearEmptyQueries(plan->problem, *io);
  return TESSERA_ATTENTION_OK;
}

void DestroyPlan(tessera_attention_plan* plan) { delete plan; }

constexpr tessera_attention_option kDevice = {.struct_size = sizeof(tessera_attention_option),
                                              .kind = TESSERA_ATTENTION_OPTION_INT,
                                              .key = "device",
                                              .help = "number of the NPU",
                                              .default_value = "0",
                                              .has_range = 1,
                                              .least = 0,
                                              .most = 1023,
                                              .choices = nullptr};
constexpr tessera_attention_option kOperator = {.struct_size = sizeof(tessera_attention_option),
                                                .kind = TESSERA_ATTENTION_OPTION_TEXT,
                                                .key = "operator",
                                                .help = "version of FusedInferAttentionScore; auto: v3, v2, v4 or v1",
                                                .default_value = "auto",
                                                .has_range = 0,
                                                .least = 0,
                                                .most = 0,
                                                .choices = "auto|v1|v2|v3|v4"};
constexpr const tessera_attention_option* kOptions[] = {&kDevice, &kOperator};

constexpr tessera_attention_backend kBackend = {
    .struct_size = sizeof(tessera_attention_backend),
    .devices = TESSERA_ATTENTION_CPU,
    .dtypes = TESSERA_ATTENTION_BF16 | TESSERA_ATTENTION_F16,
    .masks = TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_CAUSAL_TOP_LEFT | TESSERA_ATTENTION_KEY_LENGTHS |
             TESSERA_ATTENTION_VARLEN,
    .abilities = TESSERA_ATTENTION_GROUPED_KV | TESSERA_ATTENTION_CROSS | TESSERA_ATTENTION_LSE,
    .fidelity = TESSERA_ATTENTION_EXACT,
    .name = "fia_npu",
    .summary = "Ascend's fused attention on an NPU; operands are copied there and back",
    .head_dim_least = 1,
    .head_dim_most = 512,
    .head_dim_step = 1,
    .option_count = 2,
    .options = kOptions,
    .speed = 0.9,
    .check = Check,
    .plan_create = CreatePlan,
    .plan_workspace = WorkspaceOf,
    .plan_run = RunPlan,
    .plan_destroy = DestroyPlan,
};
constexpr const tessera_attention_backend* kBackends[] = {&kBackend};
constexpr tessera_attention_library kLibrary = {
    .struct_size = sizeof(tessera_attention_library), .backend_count = 1, .backends = kBackends};

}  // namespace

uint32_t tessera_attention_abi(void) { return TESSERA_ATTENTION_ABI; }
const tessera_attention_library* tessera_attention_plugin(void) { return &kLibrary; }
