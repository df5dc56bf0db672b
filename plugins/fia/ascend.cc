#include "fia/ascend.h"

#include <array>
#include <cstdlib>
#include <span>
#include <tuple>

namespace vendor {
namespace {

constexpr int kRepeatedInitialisation = 100002;  // ACL_ERROR_REPEAT_INITIALIZE
constexpr int kFormatNd = 2;                     // ACL_FORMAT_ND
constexpr int64_t kAllTokens = 2147483647;
constexpr int kNewest = 4, kPreferred[] = {3, 2, 4, 1};

std::string ToolkitFolder() {
  const char* home = std::getenv("ASCEND_TOOLKIT_HOME");
  return home == nullptr ? "" : std::string(home) + "/lib64";
}

std::string OperatorName(int version) {
  return "aclnnFusedInferAttentionScore" + (version == 1 ? std::string() : "V" + std::to_string(version));
}

// A function whose address is all we have: its type follows from the arguments.
template <class... Arguments>
int CallWith(void* function, Arguments... arguments) {
  return reinterpret_cast<int (*)(Arguments...)>(function)(arguments...);
}

using Slot = const void*;  // of a tensor, a list or an array of integers
constexpr Slot kNone = nullptr;

}  // namespace

// Null where a call has nothing to say.
struct Ascend::Operands {
  Operands(const Ascend& from, const AscendCall& call) : ascend(from), packed(call.layout[0] == 'T') {
    q = Tensor(call.type, Shape(call, call.heads, call.q_len), call.q);
    const void* key = Tensor(call.type, Shape(call, call.kv_heads, call.kv_len), call.k);
    const void* value = Tensor(call.type, Shape(call, call.kv_heads, call.kv_len), call.v);
    k = ascend.create_list_(&key, 1);
    v = ascend.create_list_(&value, 1);
    out = Tensor(call.type, Shape(call, call.heads, call.q_len), call.out);
    const std::array<int64_t, 2> square = {2048, 2048};
    if (call.mask != nullptr) mask = Tensor(AclType::kBool, square, call.mask);
    if (call.lse != nullptr) {
      const std::array<int64_t, 4> of_batch = {call.batch, call.heads, call.q_len, 1};
      const std::array<int64_t, 3> of_packed = {call.q_len, call.heads, 1};
      lse = packed ? Tensor(AclType::kFloat, of_packed, call.lse) : Tensor(AclType::kFloat, of_batch, call.lse);
    }
    if (call.lengths_q != nullptr) lengths_q = ascend.create_integers_(call.lengths_q, call.length_count);
    if (call.lengths_kv != nullptr) lengths_kv = ascend.create_integers_(call.lengths_kv, call.length_count);
  }
  ~Operands() {
    for (const void* tensor : {q, out, mask, lse}) {
      if (tensor != nullptr) ascend.destroy_tensor_(tensor);
    }
    if (k != nullptr) ascend.destroy_list_(k);
    if (v != nullptr) ascend.destroy_list_(v);
    if (lengths_q != nullptr) ascend.destroy_integers_(lengths_q);
    if (lengths_kv != nullptr) ascend.destroy_integers_(lengths_kv);
  }
  Operands(const Operands&) = delete;
  Operands& operator=(const Operands&) = delete;

  // [batch, tokens, heads, width], packed without the batch.
  std::span<const int64_t> Shape(const AscendCall& call, int64_t heads, int64_t tokens) {
    shape = {call.batch, tokens, heads, call.width};
    return std::span<const int64_t>(shape).subspan(packed ? 1 : 0);
  }

  const void* Tensor(AclType type, std::span<const int64_t> dims, void* at) const {
    std::array<int64_t, 4> strides{};
    int64_t stride = 1;
    for (size_t i = dims.size(); i-- > 0; stride *= dims[i]) strides[i] = stride;
    return ascend.create_tensor_(dims.data(), dims.size(), static_cast<int>(type), strides.data(), 0, kFormatNd,
                                 dims.data(), dims.size(), at);
  }

  const Ascend& ascend;
  const bool packed;
  std::array<int64_t, 4> shape{};
  Slot q = nullptr, k = nullptr, v = nullptr, out = nullptr, mask = nullptr, lse = nullptr, lengths_q = nullptr,
       lengths_kv = nullptr;
};

Ascend::Ascend()
    : runtime_("libascendcl.so", ToolkitFolder()),
      descriptors_("libnnopbase.so", ToolkitFolder()),
      operations_("libopapi.so", ToolkitFolder()) {
  const auto find = [](auto& function, const VendorLibrary& library, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(library.Symbol(name));
  };
  find(init_, runtime_, "aclInit");
  find(set_device_, runtime_, "aclrtSetDevice");
  find(allocate_, runtime_, "aclrtMalloc");
  find(release_, runtime_, "aclrtFree");
  find(copy_, runtime_, "aclrtMemcpy");
  find(create_stream_, runtime_, "aclrtCreateStream");
  find(destroy_stream_, runtime_, "aclrtDestroyStream");
  find(synchronize_, runtime_, "aclrtSynchronizeStream");
  find(last_error_, runtime_, "aclGetRecentErrMsg");
  find(create_tensor_, descriptors_, "aclCreateTensor");
  find(destroy_tensor_, descriptors_, "aclDestroyTensor");
  find(create_list_, descriptors_, "aclCreateTensorList");
  find(destroy_list_, descriptors_, "aclDestroyTensorList");
  find(create_integers_, descriptors_, "aclCreateIntArray");
  find(destroy_integers_, descriptors_, "aclDestroyIntArray");
  for (int version = 1; version <= kNewest; ++version) {
    Operator found;
    found.size = operations_.Symbol((OperatorName(version) + "GetWorkspaceSize").c_str());
    find(found.run, operations_, OperatorName(version).c_str());
    if (found.size != nullptr && found.run != nullptr) operators_[version] = found;
  }
  missing_ = WhatIsMissing();
}

std::string Ascend::WhatIsMissing() const {
  for (const VendorLibrary* library : {&runtime_, &descriptors_, &operations_}) {
    if (!library->is_open()) return "no CANN here (" + library->name() + " cannot be loaded)";
  }
  const bool runtime = init_ && set_device_ && allocate_ && release_ && copy_ && create_stream_ && destroy_stream_ &&
                       synchronize_ && last_error_;
  if (!runtime) return "libascendcl.so lacks functions";
  const bool describes =
      create_tensor_ && destroy_tensor_ && create_list_ && destroy_list_ && create_integers_ && destroy_integers_;
  if (!describes) return "libnnopbase.so lacks functions";
  return preferred() == 0 ? "libopapi.so has no FusedInferAttentionScore" : "";
}

int Ascend::preferred() const noexcept {
  for (const int version : kPreferred) {
    if (Has(version)) return version;
  }
  return 0;
}

int Ascend::Start(int device) const noexcept {
  const int status = init_(nullptr);
  if (status != kAclSuccess && status != kRepeatedInitialisation) return status;
  return set_device_(device);
}

const char* Ascend::LastError() const noexcept {
  const char* text = last_error_();
  return text == nullptr ? "" : text;
}

// The order of the arguments is that of aclnn_fused_infer_attention_score_v<n>.h: later versions insert slots.
int Ascend::Ask(const AscendCall& call, const Operands& o, int version, uint64_t* bytes,
                void** executor) const noexcept {
  const auto first = std::make_tuple(o.q, o.k, o.v, /*pseShift*/ kNone, o.mask, o.lengths_q, o.lengths_kv,
                                     /*deqScale1*/ kNone, /*quantScale1*/ kNone, /*deqScale2*/ kNone,
                                     /*quantScale2*/ kNone, /*quantOffset2*/ kNone, /*antiquantScale*/ kNone,
                                     /*antiquantOffset*/ kNone, /*blockTable*/ kNone, /*queryPaddingSize*/ kNone,
                                     /*kvPaddingSize*/ kNone);
  const auto second = std::make_tuple(/*keyAntiquantScale*/ kNone, /*keyAntiquantOffset*/ kNone,
                                      /*valueAntiquantScale*/ kNone, /*valueAntiquantOffset*/ kNone,
                                      /*keySharedPrefix*/ kNone, /*valueSharedPrefix*/ kNone,
                                      /*actualSharedPrefixLen*/ kNone);
  const auto third = std::make_tuple(/*queryRope*/ kNone, /*keyRope*/ kNone, /*keyRopeAntiquantScale*/ kNone);
  const auto fourth = std::make_tuple(/*dequantScaleQuery*/ kNone, /*learnableSink*/ kNone);
  const auto attributes =
      std::make_tuple(call.heads, call.scale, /*preTokens*/ kAllTokens, /*nextTokens*/ kAllTokens,
                      const_cast<char*>(call.layout), call.kv_heads == call.heads ? int64_t{0} : call.kv_heads,
                      call.sparse_mode, call.inner_precise, /*blockSize*/ int64_t{0}, /*antiquantMode*/ int64_t{0},
                      /*softmaxLseFlag*/ call.lse != nullptr);
  const auto modes = std::make_tuple(/*keyAntiquantMode*/ int64_t{0}, /*valueAntiquantMode*/ int64_t{0});
  const auto query_mode = std::make_tuple(/*queryQuantMode*/ int64_t{0});
  const auto results = std::make_tuple(o.out, o.lse, bytes, executor);
  const auto ask = [&](const auto&... parts) {
    void* function = operators_[version].size;
    return std::apply([&](auto... arguments) { return CallWith(function, arguments...); }, std::tuple_cat(parts...));
  };
  switch (version) {
    case 1:
      return ask(first, attributes, results);
    case 2:
      return ask(first, second, attributes, modes, results);
    case 3:
      return ask(first, second, third, attributes, modes, results);
    default:
      return ask(first, second, third, fourth, attributes, modes, query_mode, results);
  }
}

int Ascend::Run(const AscendCall& call, int version, Scratch* scratch, void* stream) const noexcept {
  const Operands operands(*this, call);
  uint64_t bytes = 0;
  void* executor = nullptr;
  if (const int status = Ask(call, operands, version, &bytes, &executor)) return status;
  if (bytes > scratch->bytes) {
    if (scratch->at != nullptr) Release(scratch->at);
    *scratch = {};
    if (const int status = Allocate(&scratch->at, bytes)) return status;
    scratch->bytes = bytes;
  }
  if (const int status = operators_[version].run(bytes > 0 ? scratch->at : nullptr, bytes, executor, stream)) {
    return status;
  }
  return Synchronize(stream);
}

}  // namespace vendor
