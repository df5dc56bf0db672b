/* Plug-ins that do one thing wrong; BAD_... says what. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tessera/attention_plugin.h"

struct tessera_attention_plan {
  int unused;
};

static int CreatePlan(const tessera_attention_problem* problem, const tessera_attention_setting* settings,
                      uint32_t count, tessera_attention_plan** plan, char* error, size_t error_bytes) {
  (void)problem, (void)settings, (void)count, (void)plan;
#if defined(BAD_PLAN)
  snprintf(error, error_bytes, "the device is\non fire");
  return TESSERA_ATTENTION_UNSUPPORTED;
#else
  (void)error, (void)error_bytes;
  *plan = (tessera_attention_plan*)malloc(sizeof **plan);
  return TESSERA_ATTENTION_OK;
#endif
}

static size_t WorkspaceOf(const tessera_attention_plan* plan) {
  (void)plan;
#if defined(BAD_WORKSPACE)
  return (size_t)-1;
#else
  return 0;
#endif
}

static int RunPlan(tessera_attention_plan* plan, const tessera_attention_io* io, void* workspace, char* error,
                   size_t error_bytes) {
  (void)plan, (void)io, (void)workspace;
  snprintf(error, error_bytes, "the device went away");
  return TESSERA_ATTENTION_FAILED;
}

static void DestroyPlan(tessera_attention_plan* plan) { free(plan); }

static const tessera_attention_backend kBackend = {
    .struct_size = sizeof kBackend,
    .devices = TESSERA_ATTENTION_CPU,
    .dtypes = TESSERA_ATTENTION_F32 | TESSERA_ATTENTION_BF16 | TESSERA_ATTENTION_F16,
    .masks = TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_KEY_LENGTHS,
    .abilities = TESSERA_ATTENTION_GROUPED_KV | TESSERA_ATTENTION_CROSS | TESSERA_ATTENTION_LSE,
#if defined(BAD_CLASH)
    .name = "sdpa",
#else
    .name = "faulty",
#endif
#if defined(BAD_CAPS)
    .summary = "not \xFF UTF-8",
#else
    .summary = "never works",
#endif
    .head_dim_least = 1,
    .head_dim_most = 512,
    .head_dim_step = 1,
    .speed = 0.001,
    .plan_create = CreatePlan,
    .plan_workspace = WorkspaceOf,
    .plan_run = RunPlan,
    .plan_destroy = DestroyPlan,
};
static const tessera_attention_backend* const kBackends[] = {&kBackend};
static const tessera_attention_library kLibrary = {
    .struct_size = sizeof kLibrary, .backend_count = 1, .backends = kBackends};

#if defined(BAD_VERSION)
uint32_t tessera_attention_abi(void) { return TESSERA_ATTENTION_ABI + 1; }
#else
uint32_t tessera_attention_abi(void) { return TESSERA_ATTENTION_ABI; }
#endif

#if !defined(BAD_SYMBOL)
const tessera_attention_library* tessera_attention_plugin(void) {
#if defined(BAD_TABLE)
  return NULL;
#else
  return &kLibrary;
#endif
}
#else
const void* unused_library(void) { return &kLibrary; }
#endif
