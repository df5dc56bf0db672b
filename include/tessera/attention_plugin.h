/* How a shared library brings attention backends to tessera: `tessera generate --attention-plugin lib.so`.
 *
 * Plain C. A library exports two functions, both declared at the end of this file:
 *
 *   uint32_t tessera_attention_abi(void)                    { return TESSERA_ATTENTION_ABI; }
 *   const tessera_attention_library* tessera_attention_plugin(void)   what it offers; lives as long as the library
 *
 * Every backend of the library has a data sheet (what it can; zero means no), functions that make, run and destroy a
 * plan, and optionally a check for conditions that the sheet cannot say. The program compares the sheet with what a
 * call needs, so a backend is never asked for what its sheet does not offer.
 *
 * Life of a plan: check -> plan_create (may allocate) -> plan_workspace -> plan_run any number of times, one at a time
 * -> plan_destroy. One plan serves every layer and step that poses its problem. plan_run must not allocate, log or
 * throw, and its result must not depend on the number of threads. Libraries stay loaded until the program ends.
 *
 * Errors are codes with a text: one line of UTF-8 without a full stop, written by the callee into the caller's buffer
 * with its terminating zero. A failed plan_create refuses the job before it starts; a failed plan_run ends the job with
 * that text.
 *
 * Versions: TESSERA_ATTENTION_ABI changes when a library built for another number would misbehave. Within one number
 * structures grow at their end only; `struct_size` says how much of a structure its writer knows, and what lies beyond
 * is to be taken as zero.
 *
 * Conventions: all sizes and strides are counted in elements unless a name says bytes; layouts are written
 * [outermost, ..., innermost]; the operands' layout is BSHD, [batch, token, head, channel], channels contiguous. */
#ifndef TESSERA_ATTENTION_PLUGIN_H_
#define TESSERA_ATTENTION_PLUGIN_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TESSERA_ATTENTION_ABI 1u

#if defined(__GNUC__)
#define TESSERA_ATTENTION_EXPORT __attribute__((visibility("default")))
#else
#define TESSERA_ATTENTION_EXPORT
#endif

/* What plan_create and plan_run return. */
enum {
  TESSERA_ATTENTION_OK = 0,
  TESSERA_ATTENTION_UNSUPPORTED = 1, /* this problem or these options cannot be served */
  TESSERA_ATTENTION_NO_MEMORY = 2,
  TESSERA_ATTENTION_FAILED = 3 /* a device or a library below failed */
};

/* Where operands lie. An adapter that copies operands to a device of its own takes them from the CPU. */
enum {
  TESSERA_ATTENTION_CPU = 1u << 0,
  TESSERA_ATTENTION_CUDA = 1u << 1,
  TESSERA_ATTENTION_ROCM = 1u << 2,
  TESSERA_ATTENTION_MPS = 1u << 3,
  TESSERA_ATTENTION_NPU = 1u << 4
};

/* Element types. Operands are f32, bf16 or f16; a bias may also be boolean (one byte, nonzero: visible). */
enum {
  TESSERA_ATTENTION_F32 = 1u << 0,
  TESSERA_ATTENTION_BF16 = 1u << 1,
  TESSERA_ATTENTION_F16 = 1u << 2,
  TESSERA_ATTENTION_BOOL = 1u << 3
};

/* Features of a mask, which a problem may combine (but not the two causal ones, nor key lengths with packed sequences):
 * a pair of query and key is visible when every feature shows it. With
 * packed sequences the causal masks apply within a sequence, with its own lengths. */
enum {
  TESSERA_ATTENTION_CAUSAL = 1u << 0,          /* bottom-right: key j visible to query i iff j <= i + kv_len - q_len */
  TESSERA_ATTENTION_CAUSAL_TOP_LEFT = 1u << 1, /* j <= i */
  TESSERA_ATTENTION_KEY_LENGTHS = 1u << 2,     /* per batch entry, keys from its length on are hidden */
  TESSERA_ATTENTION_VARLEN = 1u << 3,          /* packed sequences in one batch entry */
  TESSERA_ATTENTION_BIAS = 1u << 4             /* an additive bias, or a boolean mask */
};

/* Abilities. */
enum {
  TESSERA_ATTENTION_GROUPED_KV = 1u << 0,   /* fewer kv heads than heads */
  TESSERA_ATTENTION_CROSS = 1u << 1,        /* q_len differs from kv_len */
  TESSERA_ATTENTION_LSE = 1u << 2,          /* writes the log-sum-exp */
  TESSERA_ATTENTION_WALKS_BLOCKS = 1u << 3, /* honours io.blocks: sparse planners can use this backend */
  TESSERA_ATTENTION_WANTS_GRID = 1u << 4    /* only for calls whose tokens lie on a video grid */
};

/* How near the result is to exact attention: rounding only; quantised operands; pairs are left out. */
enum { TESSERA_ATTENTION_EXACT = 0, TESSERA_ATTENTION_QUANTIZED = 1, TESSERA_ATTENTION_SPARSE = 2 };

/* Kinds of option values and how they are written. */
enum {
  TESSERA_ATTENTION_OPTION_BOOL = 0,  /* "true" or "false" */
  TESSERA_ATTENTION_OPTION_INT = 1,   /* "12" */
  TESSERA_ATTENTION_OPTION_FLOAT = 2, /* "0.25" */
  TESSERA_ATTENTION_OPTION_TEXT = 3
};

/* One key of --attention-backend-config. */
typedef struct tessera_attention_option {
  uint32_t struct_size;
  uint32_t kind;             /* TESSERA_ATTENTION_OPTION_... */
  const char* key;           /* lower-case letters, digits and '_' */
  const char* help;          /* one line */
  const char* default_value; /* as text */
  int32_t has_range;         /* numbers: least <= value <= most */
  double least, most;
  const char* choices; /* texts: "a|b|c"; NULL: any */
} tessera_attention_option;

/* A value the user gave, or the default: checked against kind, range and choices. */
typedef struct tessera_attention_setting {
  const char* key;
  const char* value;
} tessera_attention_setting;

/* What every call of a plan has in common. */
typedef struct tessera_attention_problem {
  uint32_t struct_size;
  uint32_t device; /* where the operands lie: one of the device bits */
  uint32_t dtype;  /* of q, k, v and out: one of the type bits */
  uint32_t mask;   /* mask bits; 0: every query sees every key */
  int64_t batch;   /* 1 with packed sequences */
  int64_t q_len;   /* tokens of a batch entry; with packed sequences: of all of them together */
  int64_t kv_len;
  int32_t heads;
  int32_t kv_heads; /* divides heads; query head h reads kv head h / (heads / kv_heads) */
  int32_t head_dim;
  int32_t needs_lse;
  int32_t threads;                  /* of the program: tessera_attention_io::parallel never runs more at a time */
  float scale;                      /* above 0; scores are scale * <q, k> */
  int64_t grid_t, grid_h, grid_w;   /* video tokens in (t, h, w) order; 0: no grid */
  int64_t grid_prefix, grid_suffix; /* text tokens before and after them */
} tessera_attention_problem;

/* Channel d of token s of head h of batch entry b is elements[b * batch_stride + s * seq_stride + h * head_stride + d].
 */
typedef struct tessera_attention_input {
  const void* elements;
  int64_t batch_stride, seq_stride, head_stride;
} tessera_attention_input;

typedef struct tessera_attention_output {
  void* elements;
  int64_t batch_stride, seq_stride, head_stride;
} tessera_attention_output;

/* Key j of query i of head h of batch entry b is at b * batch_stride + h * head_stride + i * query_stride + j. Strides
 * may be 0. A number is added to the scaled score; a boolean hides the key when it is 0. */
typedef struct tessera_attention_bias {
  const void* elements;
  uint32_t dtype; /* one of the type bits */
  int64_t batch_stride, head_stride, query_stride;
} tessera_attention_bias;

/* One side of a block list. Block n covers the positions [offsets[n], offsets[n + 1]); a position stands for the token
 * permutation[position], or for itself when permutation is NULL. */
typedef struct tessera_attention_blocks_side {
  const int32_t* offsets;     /* [blocks + 1]; per head: [batch * heads][blocks + 1] */
  const int32_t* permutation; /* [tokens]; per head: [batch * heads][tokens]; NULL: identity */
} tessera_attention_blocks_side;

/* What a sparse planner decided: which key blocks every query block visits. Row (b, h, n) is number
 * (b * heads + h) * q_blocks + n and visits kv_list[row_begin[row]] to kv_list[row_begin[row + 1] - 1]. Masks hide
 * further pairs, by token. */
typedef struct tessera_attention_blocks {
  uint32_t struct_size;
  int32_t per_head; /* nonzero: offsets and permutations differ between heads and batch entries */
  int32_t q_blocks, kv_blocks;
  tessera_attention_blocks_side q, kv;
  const int64_t* row_begin;
  const int32_t* kv_list;
  /* NULL: every query of the block sees every key of the listed blocks. Else bit i of the mask_words words at
   * query_masks[entry * mask_words] says whether query i of its block sees the block of that entry of kv_list. */
  const uint64_t* query_masks;
  int32_t mask_words;
} tessera_attention_blocks;

typedef void (*tessera_attention_body)(void* context, int64_t item, int32_t thread);

/* The operands of one call. A query that sees no key gets out = 0 and lse = -infinity. Keys and values beyond
 * key_lengths may hold anything, NaN included. */
typedef struct tessera_attention_io {
  uint32_t struct_size;
  int32_t sequences; /* packed sequences; 0 without them */
  tessera_attention_input q, k, v;
  tessera_attention_output out;
  float* lse; /* [batch, heads, q_len], natural logarithm; NULL unless the problem needs it */
  tessera_attention_bias bias;
  const int32_t* key_lengths;             /* [batch] */
  const int32_t* cu_seqlens_q;            /* [sequences + 1], from 0 to q_len, not falling; sequences may be empty */
  const int32_t* cu_seqlens_kv;           /* [sequences + 1], from 0 to kv_len */
  const tessera_attention_blocks* blocks; /* NULL: every key block */
  int32_t step;                           /* of denoising; -1 outside of it */
  int32_t layer;                          /* of the component */
  int32_t pass;                           /* of the step: 0 conditional, 1 unconditional */
  /* The program's own threads: calls body(context, item, thread) for every item in [0, count), 0 <= thread < threads,
   * and returns when all are done. Calls must not nest. */
  void (*parallel)(int64_t count, tessera_attention_body body, void* context);
  void* stream; /* of the device the operands lie on; NULL on a CPU */
} tessera_attention_io;

typedef struct tessera_attention_plan tessera_attention_plan; /* the library's own */

/* A data sheet with its functions. */
typedef struct tessera_attention_backend {
  uint32_t struct_size;
  uint32_t devices;    /* device bits */
  uint32_t dtypes;     /* type bits, without BOOL */
  uint32_t masks;      /* mask bits: every combination of these, unless check says otherwise */
  uint32_t abilities;  /* ability bits */
  uint32_t fidelity;   /* TESSERA_ATTENTION_EXACT, _QUANTIZED or _SPARSE */
  const char* name;    /* what users type: lower-case letters, digits and '_', at most 64 */
  const char* summary; /* one line, at most 200 bytes of UTF-8 */
  int32_t head_dim_least, head_dim_most, head_dim_step; /* multiples of step from least to most */
  uint32_t option_count;
  const tessera_attention_option* const* options;
  double speed; /* of dense attention, relative to the program's flash attention at 1; "auto" takes the fastest */

  /* NULL when the problem can be served; else a reason that lives as long as the library. May itself be NULL. */
  const char* (*check)(const tessera_attention_problem* problem);
  /* `settings` holds every option once, `setting_count` == option_count. */
  int (*plan_create)(const tessera_attention_problem* problem, const tessera_attention_setting* settings,
                     uint32_t setting_count, tessera_attention_plan** plan, char* error, size_t error_bytes);
  size_t (*plan_workspace)(const tessera_attention_plan* plan); /* bytes */
  /* `workspace` is aligned to 64 bytes and belongs to the call. */
  int (*plan_run)(tessera_attention_plan* plan, const tessera_attention_io* io, void* workspace, char* error,
                  size_t error_bytes);
  void (*plan_destroy)(tessera_attention_plan* plan);
} tessera_attention_backend;

typedef struct tessera_attention_library {
  uint32_t struct_size;
  uint32_t backend_count;
  const tessera_attention_backend* const* backends;
} tessera_attention_library;

TESSERA_ATTENTION_EXPORT uint32_t tessera_attention_abi(void);
TESSERA_ATTENTION_EXPORT const tessera_attention_library* tessera_attention_plugin(void);

#ifdef __cplusplus
}
#endif

#endif /* TESSERA_ATTENTION_PLUGIN_H_ */
