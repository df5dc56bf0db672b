/* Two attention backends for tessera in one C99 file:
 *   plain_loops   exact attention with an online softmax (Milakov, Gimelshein: Online normalizer calculation for
 *                 softmax, arXiv 1805.02867), one query at a time; follows the block lists of sparse planners
 *   local_window  the same, but a query sees only the keys at most `window` tokens away
 * Operands are [batch, token, head, channel]; see tessera/attention_plugin.h for every other convention. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tessera/attention_plugin.h"

struct tessera_attention_plan {
  tessera_attention_problem problem;
  int64_t window; /* -1: no limit */
};

/* What the threads of one call share. */
typedef struct Call {
  const tessera_attention_plan* plan;
  const tessera_attention_io* io;
  double* sums; /* [threads][head_dim] */
} Call;

/* One query while it meets its keys. */
typedef struct Query {
  int64_t batch, token;
  int32_t head;
  int64_t key_begin, key_end; /* keys outside are hidden */
  double greatest, weight;    /* greatest score so far; sum of exp(score - greatest) */
  double* sum;                /* of exp(score - greatest) * value */
} Query;

static float Load(const void* elements, uint32_t dtype, int64_t at) {
  float value;
  uint32_t bits;
  if (dtype == TESSERA_ATTENTION_F32) return ((const float*)elements)[at];
  bits = (uint32_t)((const uint16_t*)elements)[at] << 16;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* bf16: round to nearest, ties to even. */
static void Store(void* elements, uint32_t dtype, int64_t at, float value) {
  uint32_t bits;
  if (dtype == TESSERA_ATTENTION_F32) {
    ((float*)elements)[at] = value;
    return;
  }
  memcpy(&bits, &value, sizeof bits);
  ((uint16_t*)elements)[at] = (uint16_t)((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

static int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }

/* The keys that the masks and the window leave to a query. */
static void Limit(const tessera_attention_plan* plan, const tessera_attention_io* io, Query* query) {
  const tessera_attention_problem* p = &plan->problem;
  int64_t q_begin = 0, q_len = p->q_len, kv_begin = 0, kv_len = p->kv_len, place;
  if (p->mask & TESSERA_ATTENTION_VARLEN) {
    int32_t s = 0;
    while (io->cu_seqlens_q[s + 1] <= query->token) ++s;
    q_begin = io->cu_seqlens_q[s];
    q_len = io->cu_seqlens_q[s + 1] - q_begin;
    kv_begin = io->cu_seqlens_kv[s];
    kv_len = io->cu_seqlens_kv[s + 1] - kv_begin;
  }
  place = query->token - q_begin; /* in its sequence */
  query->key_begin = kv_begin;
  query->key_end = kv_begin + kv_len;
  if (p->mask & TESSERA_ATTENTION_KEY_LENGTHS) {
    query->key_end = Least(query->key_end, kv_begin + io->key_lengths[query->batch]);
  }
  if (p->mask & TESSERA_ATTENTION_CAUSAL) {
    query->key_end = Least(query->key_end, kv_begin + place + kv_len - q_len + 1);
  }
  if (p->mask & TESSERA_ATTENTION_CAUSAL_TOP_LEFT) query->key_end = Least(query->key_end, kv_begin + place + 1);
  if (plan->window >= 0) {
    query->key_begin = Most(query->key_begin, kv_begin + place - plan->window);
    query->key_end = Least(query->key_end, kv_begin + place + plan->window + 1);
  }
}

static void Meet(const Call* call, Query* query, int64_t key) {
  const tessera_attention_problem* p = &call->plan->problem;
  const tessera_attention_io* io = call->io;
  const int32_t kv_head = query->head / (p->heads / p->kv_heads);
  const int64_t q =
      query->batch * io->q.batch_stride + query->token * io->q.seq_stride + query->head * io->q.head_stride;
  const int64_t k = query->batch * io->k.batch_stride + key * io->k.seq_stride + kv_head * io->k.head_stride;
  const int64_t v = query->batch * io->v.batch_stride + key * io->v.seq_stride + kv_head * io->v.head_stride;
  double score = 0, old, share;
  int32_t d;
  if (key < query->key_begin || key >= query->key_end) return;
  for (d = 0; d < p->head_dim; ++d) {
    score += (double)Load(io->q.elements, p->dtype, q + d) * (double)Load(io->k.elements, p->dtype, k + d);
  }
  score *= (double)p->scale;
  old = score > query->greatest ? exp(query->greatest - score) : 1.0; /* what earlier keys are worth from now on */
  query->greatest = score > query->greatest ? score : query->greatest;
  share = exp(score - query->greatest);
  query->weight = query->weight * old + share;
  for (d = 0; d < p->head_dim; ++d) {
    query->sum[d] = query->sum[d] * old + share * (double)Load(io->v.elements, p->dtype, v + d);
  }
}

static void Begin(const Call* call, Query* query) {
  int32_t d;
  query->greatest = -INFINITY;
  query->weight = 0;
  for (d = 0; d < call->plan->problem.head_dim; ++d) query->sum[d] = 0;
  Limit(call->plan, call->io, query);
}

static void Finish(const Call* call, const Query* query) {
  const tessera_attention_problem* p = &call->plan->problem;
  const tessera_attention_output* out = &call->io->out;
  const int64_t at = query->batch * out->batch_stride + query->token * out->seq_stride + query->head * out->head_stride;
  const double share = query->weight > 0 ? 1 / query->weight : 0;
  int32_t d;
  for (d = 0; d < p->head_dim; ++d) Store(out->elements, p->dtype, at + d, (float)(query->sum[d] * share));
  if (call->io->lse != NULL) {
    call->io->lse[(query->batch * p->heads + query->head) * p->q_len + query->token] =
        query->weight > 0 ? (float)(query->greatest + log(query->weight)) : -INFINITY;
  }
}

/* Every query of one batch entry and head, every key. */
static void AttendDensely(const Call* call, Query* query) {
  for (query->token = 0; query->token < call->plan->problem.q_len; ++query->token) {
    int64_t key;
    Begin(call, query);
    for (key = query->key_begin; key < query->key_end; ++key) Meet(call, query, key);
    Finish(call, query);
  }
}

static int64_t TokenAt(const int32_t* permutation, int64_t position) {
  return permutation == NULL ? position : permutation[position];
}

static int Sees(const tessera_attention_blocks* blocks, int64_t entry, int64_t query) {
  if (blocks->query_masks == NULL) return 1;
  return (blocks->query_masks[entry * blocks->mask_words + query / 64] >> (query % 64)) & 1;
}

/* Every query of one batch entry and head, the keys of the blocks that a planner chose. */
static void AttendListed(const Call* call, Query* query) {
  const tessera_attention_problem* p = &call->plan->problem;
  const tessera_attention_blocks* blocks = call->io->blocks;
  const int64_t pair = query->batch * p->heads + query->head, own = blocks->per_head ? pair : 0;
  const int32_t* q_offsets = blocks->q.offsets + own * (blocks->q_blocks + 1);
  const int32_t* kv_offsets = blocks->kv.offsets + own * (blocks->kv_blocks + 1);
  const int32_t* q_tokens = blocks->q.permutation == NULL ? NULL : blocks->q.permutation + own * p->q_len;
  const int32_t* kv_tokens = blocks->kv.permutation == NULL ? NULL : blocks->kv.permutation + own * p->kv_len;
  int32_t block;
  for (block = 0; block < blocks->q_blocks; ++block) {
    const int64_t* row = blocks->row_begin + pair * blocks->q_blocks + block;
    int32_t position;
    for (position = q_offsets[block]; position < q_offsets[block + 1]; ++position) {
      int64_t entry;
      query->token = TokenAt(q_tokens, position);
      Begin(call, query);
      for (entry = row[0]; entry < row[1]; ++entry) {
        const int32_t listed = blocks->kv_list[entry];
        int32_t key;
        if (!Sees(blocks, entry, position - q_offsets[block])) continue;
        for (key = kv_offsets[listed]; key < kv_offsets[listed + 1]; ++key) Meet(call, query, TokenAt(kv_tokens, key));
      }
      Finish(call, query);
    }
  }
}

static void AttendHead(void* context, int64_t item, int32_t thread) {
  const Call* call = (const Call*)context;
  Query query;
  memset(&query, 0, sizeof query);
  query.batch = item / call->plan->problem.heads;
  query.head = (int32_t)(item % call->plan->problem.heads);
  query.sum = call->sums + (int64_t)thread * call->plan->problem.head_dim;
  if (call->io->blocks != NULL) {
    AttendListed(call, &query);
  } else {
    AttendDensely(call, &query);
  }
}

static int CreatePlan(const tessera_attention_problem* problem, const tessera_attention_setting* settings,
                      uint32_t setting_count, tessera_attention_plan** plan, char* error, size_t error_bytes) {
  uint32_t i;
  tessera_attention_plan* made = (tessera_attention_plan*)calloc(1, sizeof *made);
  if (made == NULL) {
    snprintf(error, error_bytes, "out of memory");
    return TESSERA_ATTENTION_NO_MEMORY;
  }
  made->problem = *problem;
  made->window = -1;
  for (i = 0; i < setting_count; ++i) {
    if (strcmp(settings[i].key, "window") == 0) made->window = strtoll(settings[i].value, NULL, 10);
  }
  *plan = made;
  return TESSERA_ATTENTION_OK;
}

static size_t WorkspaceOf(const tessera_attention_plan* plan) {
  return sizeof(double) * (size_t)plan->problem.threads * (size_t)plan->problem.head_dim;
}

static int RunPlan(tessera_attention_plan* plan, const tessera_attention_io* io, void* workspace, char* error,
                   size_t error_bytes) {
  Call call;
  (void)error;
  (void)error_bytes;
  call.plan = plan;
  call.io = io;
  call.sums = (double*)workspace;
  io->parallel(plan->problem.batch * plan->problem.heads, AttendHead, &call);
  return TESSERA_ATTENTION_OK;
}

static void DestroyPlan(tessera_attention_plan* plan) { free(plan); }

static const tessera_attention_backend kPlainLoops = {
    .struct_size = sizeof kPlainLoops,
    .devices = TESSERA_ATTENTION_CPU,
    .dtypes = TESSERA_ATTENTION_F32 | TESSERA_ATTENTION_BF16,
    .masks = TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_CAUSAL_TOP_LEFT | TESSERA_ATTENTION_KEY_LENGTHS |
             TESSERA_ATTENTION_VARLEN,
    .abilities =
        TESSERA_ATTENTION_GROUPED_KV | TESSERA_ATTENTION_CROSS | TESSERA_ATTENTION_LSE | TESSERA_ATTENTION_WALKS_BLOCKS,
    .fidelity = TESSERA_ATTENTION_EXACT,
    .name = "plain_loops",
    .summary = "exact attention in plain C loops, one query at a time",
    .head_dim_least = 1,
    .head_dim_most = 1024,
    .head_dim_step = 1,
    .speed = 0.001,
    .plan_create = CreatePlan,
    .plan_workspace = WorkspaceOf,
    .plan_run = RunPlan,
    .plan_destroy = DestroyPlan,
};

static const tessera_attention_option kWindow = {
    .struct_size = sizeof kWindow,
    .kind = TESSERA_ATTENTION_OPTION_INT,
    .key = "window",
    .help = "tokens to either side that a query sees",
    .default_value = "128",
    .has_range = 1,
    .least = 0,
    .most = 1e9,
};
static const tessera_attention_option* const kWindowOptions[] = {&kWindow};

static const tessera_attention_backend kLocalWindow = {
    .struct_size = sizeof kLocalWindow,
    .devices = TESSERA_ATTENTION_CPU,
    .dtypes = TESSERA_ATTENTION_F32 | TESSERA_ATTENTION_BF16,
    .masks = TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_KEY_LENGTHS | TESSERA_ATTENTION_VARLEN,
    .abilities = TESSERA_ATTENTION_GROUPED_KV | TESSERA_ATTENTION_LSE,
    .fidelity = TESSERA_ATTENTION_SPARSE,
    .name = "local_window",
    .summary = "attention to near tokens only, in plain C loops",
    .head_dim_least = 1,
    .head_dim_most = 1024,
    .head_dim_step = 1,
    .option_count = 1,
    .options = kWindowOptions,
    .speed = 0.001,
    .plan_create = CreatePlan,
    .plan_workspace = WorkspaceOf,
    .plan_run = RunPlan,
    .plan_destroy = DestroyPlan,
};

static const tessera_attention_backend* const kBackends[] = {&kPlainLoops, &kLocalWindow};
static const tessera_attention_library kLibrary = {
    .struct_size = sizeof kLibrary, .backend_count = sizeof kBackends / sizeof kBackends[0], .backends = kBackends};

uint32_t tessera_attention_abi(void) { return TESSERA_ATTENTION_ABI; }
const tessera_attention_library* tessera_attention_plugin(void) { return &kLibrary; }
