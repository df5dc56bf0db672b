// The backend `aiter_rocm`: AITER's flash attention on an AMD device. Operands lie in host memory and are copied to the
// device and back.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include "aiter/attn_aiter.h"
#include "staging.h"
#include "vendor_library.h"

namespace {

using vendor::Fail;

// HIP's runtime interface: what the copies need.
enum HipCopy { kHostToDevice = 1, kDeviceToHost = 2 };
constexpr int kHipSuccess = 0;

struct Libraries {
  vendor::VendorLibrary hip{"libamdhip64.so", ""}, shim{"libattn_aiter_shim.so", ""};
  int (*set_device)(int) = vendor::FunctionOf<int(int)>({&hip}, "hipSetDevice");
  int (*allocate)(void**, size_t) = vendor::FunctionOf<int(void**, size_t)>({&hip}, "hipMalloc");
  int (*release)(void*) = vendor::FunctionOf<int(void*)>({&hip}, "hipFree");
  int (*copy)(void*, const void*, size_t, int) = vendor::FunctionOf<int(void*, const void*, size_t, int)>({&hip},
                                                                                                          "hipMemcpy");
  int (*synchronize)() = vendor::FunctionOf<int()>({&hip}, "hipDeviceSynchronize");
  const char* (*error_text)(int) = vendor::FunctionOf<const char*(int)>({&hip}, "hipGetErrorString");
  int (*abi)() = vendor::FunctionOf<int()>({&shim}, "attn_aiter_abi");
  int (*forward)(const attn_aiter_desc*,
                 void*) = vendor::FunctionOf<int(const attn_aiter_desc*, void*)>({&shim}, "attn_aiter_fwd");
  std::string missing = WhatIsMissing();

  std::string WhatIsMissing() const {
    if (!hip.is_open()) return "no ROCm here (libamdhip64.so cannot be loaded)";
    if (!shim.is_open()) return "no AITER here (libattn_aiter_shim.so cannot be loaded)";
    if (!set_device || !allocate || !release || !copy || !synchronize || !error_text)
      return "libamdhip64.so lacks functions";
    if (!abi || !forward) return "libattn_aiter_shim.so lacks functions";
    if (abi() != ATTN_AITER_ABI) return "libattn_aiter_shim.so is of another version";
    return "";
  }
};

// Opened once, when a backend is first asked for; read only afterwards.
const Libraries& Vendor() {
  static const Libraries libraries;
  return libraries;
}

class DeviceMemory {
 public:
  DeviceMemory() = default;
  ~DeviceMemory() { Reset(); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  // Keeps what is there when it is large enough. HIP's error.
  int Reserve(size_t bytes) noexcept {
    if (bytes <= bytes_) return kHipSuccess;
    Reset();
    const int code = Vendor().allocate(&at_, bytes);
    bytes_ = code == kHipSuccess ? bytes : 0;
    return code;
  }
  void* at() const noexcept { return at_; }

 private:
  void Reset() noexcept {
    if (bytes_ != 0) Vendor().release(at_);
    at_ = nullptr;
    bytes_ = 0;
  }
  void* at_ = nullptr;
  size_t bytes_ = 0;
};

const char* Check(const tessera_attention_problem* problem) {
  if (!Vendor().missing.empty()) return Vendor().missing.c_str();
  const uint32_t mask = problem->mask;
  // AITER would align the diagonal with the shown keys.
  if ((mask & TESSERA_ATTENTION_CAUSAL) != 0 && (mask & TESSERA_ATTENTION_KEY_LENGTHS) != 0) {
    return "bottom-right causal mask with key lengths";
  }
  const int64_t longest = std::max(problem->q_len * problem->heads, problem->kv_len * problem->kv_heads);
  if (longest > INT32_MAX / problem->head_dim) return "strides of more than 31 bits";
  return nullptr;
}

}  // namespace

struct tessera_attention_plan {
  tessera_attention_problem problem{};
  int device = 0;
  vendor::Rows queries, keys;
  DeviceMemory q, k, v, out, lse, starts_q, starts_k;

  size_t LseBytes() const noexcept {
    return sizeof(float) * static_cast<size_t>(problem.batch * problem.heads * problem.q_len);
  }
};

namespace {

int Hip(int code, const char* what, char* error, size_t error_bytes) noexcept {
  if (code == kHipSuccess) return TESSERA_ATTENTION_OK;
  return Fail(TESSERA_ATTENTION_FAILED, error, error_bytes, "%s: %s", what, Vendor().error_text(code));
}

int CreatePlan(const tessera_attention_problem* problem, const tessera_attention_setting* settings, uint32_t count,
               tessera_attention_plan** plan, char* error, size_t error_bytes) {
  if (const char* reason = Check(problem)) return Fail(TESSERA_ATTENTION_UNSUPPORTED, error, error_bytes, "%s", reason);
  auto made = std::make_unique<tessera_attention_plan>();
  made->problem = *problem;
  made->device = static_cast<int>(vendor::IntSetting(settings, count, "device"));
  made->queries = vendor::QueryRows(*problem, problem->head_dim);
  made->keys = vendor::KeyRows(*problem, problem->head_dim);
  const Libraries& hip = Vendor();
  if (const int code = Hip(hip.set_device(made->device), "choosing the device", error, error_bytes)) return code;
  const size_t sequences = sizeof(int32_t) * static_cast<size_t>(problem->batch + 1);
  for (const auto& [memory, bytes] :
       {std::pair{&made->q, made->queries.bytes()}, std::pair{&made->out, made->queries.bytes()},
        std::pair{&made->k, made->keys.bytes()}, std::pair{&made->v, made->keys.bytes()},
        std::pair{&made->lse, made->LseBytes()}, std::pair{&made->starts_q, sequences},
        std::pair{&made->starts_k, sequences}}) {
    if (memory->Reserve(bytes) != kHipSuccess) {
      return Fail(TESSERA_ATTENTION_NO_MEMORY, error, error_bytes, "no device memory for %zu bytes", bytes);
    }
  }
  *plan = made.release();
  return TESSERA_ATTENTION_OK;
}

// One operand or the sums at a time pass through the workspace.
size_t WorkspaceOf(const tessera_attention_plan* plan) {
  const size_t lengths = sizeof(int32_t) * static_cast<size_t>(plan->problem.batch + 1);
  return std::max({plan->queries.bytes(), plan->keys.bytes(), lengths});
}

int Upload(tessera_attention_plan& plan, const tessera_attention_io& io, void* workspace) noexcept {
  auto* staging = static_cast<uint16_t*>(workspace);
  const auto upload = [&](const tessera_attention_input& from, const vendor::Rows& rows, const int32_t* lengths,
                          const DeviceMemory& to) {
    vendor::Pack(from, rows, lengths, staging);
    return Vendor().copy(to.at(), staging, rows.bytes(), kHostToDevice);
  };
  const bool lengths = (plan.problem.mask & TESSERA_ATTENTION_KEY_LENGTHS) != 0;
  const int32_t* shown = lengths ? io.key_lengths : nullptr;
  if (const int code = upload(io.q, plan.queries, nullptr, plan.q)) return code;
  if (const int code = upload(io.k, plan.keys, shown, plan.k)) return code;
  return upload(io.v, plan.keys, shown, plan.v);
}

// The starts of packed sequences, or the running sum of the key lengths.
int UploadStarts(tessera_attention_plan& plan, const tessera_attention_io& io, void* workspace) noexcept {
  const Libraries& hip = Vendor();
  if ((plan.problem.mask & TESSERA_ATTENTION_VARLEN) != 0) {
    const size_t bytes = sizeof(int32_t) * (static_cast<size_t>(io.sequences) + 1);
    if (const int code = plan.starts_q.Reserve(bytes)) return code;
    if (const int code = plan.starts_k.Reserve(bytes)) return code;
    if (const int code = hip.copy(plan.starts_q.at(), io.cu_seqlens_q, bytes, kHostToDevice)) return code;
    return hip.copy(plan.starts_k.at(), io.cu_seqlens_kv, bytes, kHostToDevice);
  }
  if ((plan.problem.mask & TESSERA_ATTENTION_KEY_LENGTHS) == 0) return kHipSuccess;
  auto* sums = static_cast<int32_t*>(workspace);
  sums[0] = 0;
  for (int64_t b = 0; b < plan.problem.batch; ++b) sums[b + 1] = sums[b] + io.key_lengths[b];
  return hip.copy(plan.starts_k.at(), sums, sizeof(int32_t) * static_cast<size_t>(plan.problem.batch + 1),
                  kHostToDevice);
}

void SetMask(uint32_t mask, attn_aiter_desc* desc) noexcept {
  desc->mask_type = (mask & TESSERA_ATTENTION_CAUSAL) != 0            ? ATTN_AITER_MASK_BOTTOM_RIGHT
                    : (mask & TESSERA_ATTENTION_CAUSAL_TOP_LEFT) != 0 ? ATTN_AITER_MASK_TOP_LEFT
                                                                      : ATTN_AITER_MASK_NONE;
  desc->window_left = -1;
  desc->window_right = desc->mask_type == ATTN_AITER_MASK_NONE ? -1 : 0;
}

// Contiguous [batch, token, head, channel]; the log-sum-exp [batch, head, token].
void SetStrides(const tessera_attention_problem& p, attn_aiter_desc* desc) noexcept {
  const int32_t width = p.head_dim, q_row = p.heads * width, kv_row = p.kv_heads * width;
  const auto q_len = static_cast<int32_t>(p.q_len), kv_len = static_cast<int32_t>(p.kv_len);
  desc->nhead_stride_q = desc->nhead_stride_k = desc->nhead_stride_v = desc->nhead_stride_o = width;
  desc->stride_q = desc->stride_o = q_row;
  desc->stride_k = desc->stride_v = kv_row;
  desc->nhead_stride_lse = q_len;
  if (desc->is_group_mode != 0) return;
  desc->batch_stride_q = desc->batch_stride_o = q_len * q_row;
  desc->batch_stride_k = desc->batch_stride_v = kv_len * kv_row;
  desc->batch_stride_lse = p.heads * q_len;
}

void SetLengths(const tessera_attention_plan& plan, const tessera_attention_io& io, attn_aiter_desc* desc) noexcept {
  const tessera_attention_problem& p = plan.problem;
  desc->seqlen_q = desc->max_seqlen_q = static_cast<int32_t>(p.q_len);
  desc->seqlen_k = static_cast<int32_t>(p.kv_len);
  desc->batch = static_cast<int32_t>(p.batch);
  if ((p.mask & TESSERA_ATTENTION_KEY_LENGTHS) != 0) desc->cu_seqlen_k_ptr = plan.starts_k.at();
  if ((p.mask & TESSERA_ATTENTION_VARLEN) == 0) return;
  desc->is_group_mode = 1;
  desc->seqstart_q_ptr = plan.starts_q.at();
  desc->seqstart_k_ptr = plan.starts_k.at();
  desc->batch = io.sequences;
  desc->max_seqlen_q = 0;
  for (int32_t s = 0; s < io.sequences; ++s) {
    desc->max_seqlen_q = std::max(desc->max_seqlen_q, io.cu_seqlens_q[s + 1] - io.cu_seqlens_q[s]);
  }
}

attn_aiter_desc Describe(const tessera_attention_plan& plan, const tessera_attention_io& io) noexcept {
  const tessera_attention_problem& p = plan.problem;
  attn_aiter_desc desc{};
  desc.use_asm_v3 = 1;
  desc.data_type = p.dtype == TESSERA_ATTENTION_BF16 ? "bf16" : "fp16";
  desc.has_lse = p.needs_lse;
  desc.q_ptr = plan.q.at();
  desc.k_ptr = plan.k.at();
  desc.v_ptr = plan.v.at();
  desc.o_ptr = plan.out.at();
  desc.lse_ptr = p.needs_lse != 0 ? plan.lse.at() : nullptr;
  desc.hdim_q = desc.hdim_v = p.head_dim;
  desc.nhead_q = p.heads;
  desc.nhead_k = p.kv_heads;
  desc.scale_s = p.scale;
  SetLengths(plan, io, &desc);
  SetStrides(p, &desc);
  SetMask(p.mask, &desc);
  return desc;
}

int Download(const tessera_attention_plan& plan, const tessera_attention_io& io, void* workspace) noexcept {
  const Libraries& hip = Vendor();
  if (const int code = hip.synchronize()) return code;
  if (const int code = hip.copy(workspace, plan.out.at(), plan.queries.bytes(), kDeviceToHost)) return code;
  vendor::Unpack(static_cast<const uint16_t*>(workspace), plan.queries, io.out);
  return io.lse == nullptr ? kHipSuccess : hip.copy(io.lse, plan.lse.at(), plan.LseBytes(), kDeviceToHost);
}

int RunPlan(tessera_attention_plan* plan, const tessera_attention_io* io, void* workspace, char* error,
            size_t error_bytes) {
  const auto hip = [&](int code, const char* what) { return Hip(code, what, error, error_bytes); };
  if (const int code = hip(Vendor().set_device(plan->device), "choosing the device")) return code;
  if (const int code = hip(Upload(*plan, *io, workspace), "copying to the device")) return code;
  if (const int code = hip(UploadStarts(*plan, *io, workspace), "copying to the device")) return code;
  const attn_aiter_desc desc = Describe(*plan, *io);
  const int done = Vendor().forward(&desc, nullptr);
  if (done == -1) return Fail(TESSERA_ATTENTION_FAILED, error, error_bytes, "AITER has no kernel for this problem");
  if (const int code = hip(done, "AITER's kernel")) return code;
  if (const int code = hip(Download(*plan, *io, workspace), "copying from the device")) return code;
  vendor::ClearEmptyQueries(plan->problem, *io);
  return TESSERA_ATTENTION_OK;
}

void DestroyPlan(tessera_attention_plan* plan) { delete plan; }

constexpr tessera_attention_option kDevice = {.struct_size = sizeof(tessera_attention_option),
                                              .kind = TESSERA_ATTENTION_OPTION_INT,
                                              .key = "device",
                                              .help = "number of the AMD device",
                                              .default_value = "0",
                                              .has_range = 1,
                                              .least = 0,
                                              .most = 1023,
                                              .choices = nullptr};
constexpr const tessera_attention_option* kOptions[] = {&kDevice};

// mha_fwd takes 16-bit operands and head dims up to 256 in whole eights; a bias would need the operands' type.
constexpr tessera_attention_backend kBackend = {
    .struct_size = sizeof(tessera_attention_backend),
    .devices = TESSERA_ATTENTION_CPU,
    .dtypes = TESSERA_ATTENTION_BF16 | TESSERA_ATTENTION_F16,
    .masks = TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_CAUSAL_TOP_LEFT | TESSERA_ATTENTION_KEY_LENGTHS |
             TESSERA_ATTENTION_VARLEN,
    .abilities = TESSERA_ATTENTION_GROUPED_KV | TESSERA_ATTENTION_CROSS | TESSERA_ATTENTION_LSE,
    .fidelity = TESSERA_ATTENTION_EXACT,
    .name = "aiter_rocm",
    .summary = "AITER's flash attention on an AMD device; operands are copied there and back",
    .head_dim_least = 8,
    .head_dim_most = 256,
    .head_dim_step = 8,
    .option_count = 1,
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
