#include "kernels_nvfp4/nvfp4_call.h"

#include <cmath>

#include <fmt/format.h>

#include "platform/cpu/cpu.h"

namespace tessera {

std::vector<Nvfp4Variant> Nvfp4Variants() {
  std::vector<Nvfp4Variant> runnable;
  for (const Nvfp4Variant& variant :
       {Nvfp4Variant{"scalar", Isa::kScalar, &Nvfp4Scalar()}, Nvfp4Variant{"avx2", Isa::kAvx2, &Nvfp4Avx2()},
        Nvfp4Variant{"avx512", Isa::kAvx512, &Nvfp4Avx512()},
        Nvfp4Variant{"avx512_bf16 dot", Isa::kAvx512Bf16, &Nvfp4Avx512Bf16()}}) {
    if (variant.isa <= MachineIsa()) runnable.push_back(variant);
  }
  return runnable;
}

void RunNvfp4(AttentionCall* call, const Nvfp4Variant& variant, const Nvfp4Options& options) {
  call->problem.needs_lse = true;
  call->Run(*MakeNvfp4Plan(call->problem, variant.isa, variant.kernel->arithmetic, options));
}

std::vector<Nvfp4Options> AllNvfp4Options() {
  return {{},
          {.sum_quantized = true},
          {.divide_rounded = true},
          {.sum_quantized = true, .divide_rounded = true},
          {.per_block_mean = false},
          {.smooth_k = false}};
}

std::string NameOf(const Nvfp4Options& options) {
  return fmt::format("per_block_mean={} smooth_k={} sum_quantized={} divide_rounded={}", options.per_block_mean,
                     options.smooth_k, options.sum_quantized, options.divide_rounded);
}

Nvfp4ReferenceResult SolveByNvfp4Recipe(const AttentionCall& call, int head, const Nvfp4Options& options,
                                        const Visibility& visible) {
  const AttentionProblem& p = call.problem;
  const int kv_head = head / (p.heads / p.kv_heads);
  const auto q = HeadRows(call.q, p.q_len, p.head_dim, head), k = HeadRows(call.k, p.kv_len, p.head_dim, kv_head),
             v = HeadRows(call.v, p.kv_len, p.head_dim, kv_head);
  const double scale_log2 = static_cast<double>(p.softmax_scale()) / std::log(2.0);
  Nvfp4ReferenceCall reference;
  reference.format.rows = {p.dtype, p.head_dim, p.head_dim, static_cast<float>(scale_log2)};
  reference.format.sum_quantized = options.sum_quantized;
  reference.format.divide_rounded = options.divide_rounded;
  reference.per_block_mean = options.per_block_mean;
  reference.smooth_k = options.smooth_k;
  reference.q = q;
  reference.k = k;
  reference.v = v;
  if (visible) reference.visible = [&](int64_t query, int64_t key) { return visible(0, head, query, key); };
  if (!call.key_lengths.empty()) reference.present = [&](int64_t key) { return key < call.key_lengths[0]; };
  return RunNvfp4Reference(reference);
}

}  // namespace tessera
