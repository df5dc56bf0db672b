#include "kernels_sage/sage_call.h"

#include <cmath>
#include <random>

#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

// Adds one number per head and channel to every row.
void AddMeans(Rows* rows, int64_t batch, int64_t length, const std::vector<std::vector<double>>& means) {
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t token = 0; token < length; ++token) {
      for (size_t head = 0; head < means.size(); ++head) {
        for (size_t d = 0; d < means[head].size(); ++d) {
          const double x = rows->Get(b, token, static_cast<int>(head), static_cast<int>(d));
          rows->Set(b, token, static_cast<int>(head), static_cast<int>(d), x + means[head][d]);
        }
      }
    }
  }
}

std::vector<std::vector<double>> Means(int heads, int channels, double spread, double most_every_16, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<double> normal(0, spread);
  std::vector<std::vector<double>> means(static_cast<size_t>(heads),
                                         std::vector<double>(static_cast<size_t>(channels)));
  for (auto& of_head : means) {
    for (size_t d = 0; d < of_head.size(); ++d) of_head[d] = normal(generator) + (d % 16 == 3 ? most_every_16 : 0);
  }
  return means;
}

}  // namespace

std::vector<SageVariant> SageVariants() {
  std::vector<SageVariant> runnable;
  for (const SageVariant& variant :
       {SageVariant{"scalar", Isa::kScalar, &SageScalar()}, SageVariant{"avx2", Isa::kAvx2, &SageAvx2()},
        SageVariant{"avx512", Isa::kAvx512, &SageAvx512()}, SageVariant{"vnni", Isa::kAvx512Bf16, &SageAvx512Vnni()}}) {
    if (variant.isa <= MachineIsa()) runnable.push_back(variant);
  }
  return runnable;
}

AttentionCall MakeSageCall(const std::string& line, Operands operands) {
  AttentionCall call(line, operands == Operands::kSharp ? 3 : 1);
  const AttentionProblem& p = call.problem;
  if (operands == Operands::kNormal) return call;
  AddMeans(&call.q, p.batch, p.q_len, Means(p.heads, p.head_dim, 0.3, 0, 11));
  AddMeans(&call.k, p.batch, p.kv_len, Means(p.kv_heads, p.head_dim, 0.5, 8, 12));
  const auto v_means = Means(p.kv_heads, p.head_dim, 0.3, 0, 13);
  AddMeans(&call.v, p.batch, p.kv_len, v_means);
  std::vector<std::vector<double>> ones(v_means.size(), std::vector<double>(v_means[0].size(), 1.0));
  AddMeans(&call.v, p.batch, p.kv_len, ones);
  return call;
}

void RunSage(AttentionCall* call, Isa isa, const SageOptions& options) {
  call->problem.needs_lse = true;
  call->Run(*MakeSagePlan(call->problem, isa, options));
}

Distance Between(const std::vector<double>& a, const std::vector<double>& b) {
  double difference = 0, size = 1e-30, product = 0, a2 = 1e-30, b2 = 1e-30;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += std::abs(a[i] - b[i]);
    size += std::abs(b[i]);
    product += a[i] * b[i];
    a2 += a[i] * a[i];
    b2 += b[i] * b[i];
  }
  return {difference / size, 1 - product / std::sqrt(a2 * b2)};
}

std::vector<float> HeadRows(const Rows& rows, int64_t length, int channels, int head) {
  std::vector<float> values;
  for (int64_t token = 0; token < length; ++token) {
    for (int d = 0; d < channels; ++d) values.push_back(static_cast<float>(rows.Get(0, token, head, d)));
  }
  return values;
}

SageReferenceResult SolveByRecipe(const AttentionCall& call, int head, const SageOptions& options,
                                  const Visibility& visible) {
  const AttentionProblem& p = call.problem;
  const int kv_head = head / (p.heads / p.kv_heads);
  const auto q = HeadRows(call.q, p.q_len, p.head_dim, head), k = HeadRows(call.k, p.kv_len, p.head_dim, kv_head),
             v = HeadRows(call.v, p.kv_len, p.head_dim, kv_head);
  const double scale_log2 = static_cast<double>(p.softmax_scale()) / std::log(2.0);
  SageReferenceCall reference;
  reference.format.rows = {p.dtype, p.head_dim, p.head_dim, static_cast<float>(scale_log2)};
  reference.format.granularity = options.granularity;
  reference.format.values = options.values;
  reference.format.rounding = options.rounding;
  reference.query_block = options.blocks == SageBlocks::k64x64 ? 64 : options.blocks == SageBlocks::k128x64 ? 128 : 256;
  reference.key_block = options.blocks == SageBlocks::k256x128 ? 128 : 64;
  reference.smooth_k = options.smooth_k;
  reference.smooth_v = options.smooth_v;
  reference.q = q;
  reference.k = k;
  reference.v = v;
  if (visible) reference.visible = [&](int64_t query, int64_t key) { return visible(0, head, query, key); };
  if (!call.key_lengths.empty()) reference.present = [&](int64_t key) { return key < call.key_lengths[0]; };
  return RunSageReference(reference);
}

std::string NameOf(SageValues values) {
  switch (values) {
    case SageValues::kInt8:
      return "int8";
    case SageValues::kFp16:
      return "fp16";
    case SageValues::kFp8:
      return "fp8";
    case SageValues::kFp8Plus:
      return "fp8++";
    case SageValues::kFp8Unit:
      return "fp8 up to 1";
    case SageValues::kFp8UnitFnuz:
      return "fp8 fnuz up to 1";
  }
  return "";
}

}  // namespace tessera
