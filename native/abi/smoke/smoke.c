/*
 * The ABI from C alone: loads a library, makes a small model of fixed weights, generates eight tokens and closes
 * everything. smoke LIBRARY Prints "tokens" and the ids. The exit status is 0 if every call did what it should and no
 * memory stayed in the ledger.
 */
#include <dlfcn.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../include/touchstone.h"

enum { kVocab = 32, kWidth = 32, kHidden = 32, kContext = 32, kHeadDim = 16, kTensors = 11, kTokens = 8 };

static ts_error error = {.struct_size = sizeof(ts_error)};

static void expect(const char* what, ts_status status, ts_status wanted) {
  if (status == wanted) return;
  fprintf(stderr, "%s: status %d, not %d: %s\n", what, (int)status, (int)wanted, error.message);
  exit(1);
}

/* Weights that need no generator: multiples of 1/64 from a linear congruence. */
static float* fill(uint64_t count, uint32_t seed) {
  float* data = malloc(count * sizeof *data);
  if (data == NULL) exit(2);
  for (uint64_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    data[i] = (float)((int)(seed >> 25) - 64) / 64.0f;
  }
  return data;
}

static ts_tensor tensor(const char* name, uint64_t columns, uint64_t rows, uint32_t seed) {
  ts_tensor t = {.name = name, .dtype = TS_F32, .dims = 2, .shape = {columns, rows, 1, 1}};
  t.data = fill(columns * rows, seed);
  t.bytes = columns * rows * sizeof(float);
  return t;
}

/* Every function refuses a missing handle or place, and a struct of another size. */
static void refuse(const ts_api* api) {
  ts_context* context = NULL;
  ts_model* model = NULL;
  ts_session* session = NULL;
  const ts_status bad = TS_INVALID_ARGUMENT;
  uint32_t number;
  uint64_t done, total;
  ts_error small = {.struct_size = sizeof small - 1};
  ts_device_properties properties = {.struct_size = 0};
  ts_context_options options = {.struct_size = 0};
  ts_memory_stats stats = {.struct_size = 0};
  ts_residency_report report = {.struct_size = 0};
  ts_model_info info = {.struct_size = 0};
  ts_session_state state = {.struct_size = 0};
  ts_step_item item = {.struct_size = 0};
  expect("device_count(NULL)", api->device_count(NULL, &error), bad);
  expect("device_count, small error", api->device_count(&number, &small), bad);
  expect("device_properties(NULL)", api->device_properties(0, NULL, &error), bad);
  expect("device_properties, size 0", api->device_properties(0, &properties, &error), bad);
  properties.struct_size = sizeof properties;
  expect("device_properties(99)", api->device_properties(99, &properties, &error), TS_INVALID_DEVICE);
  expect("context_create(-1)", api->context_create(-1, NULL, &context, &error), TS_INVALID_DEVICE);
  expect("context_create, size 0", api->context_create(0, &options, &context, &error), bad);
  options = (ts_context_options){.struct_size = sizeof options, .isa = 99};
  expect("context_create, isa 99", api->context_create(0, &options, &context, &error), bad);
  options = (ts_context_options){.struct_size = sizeof options, .numerics = 7};
  expect("context_create, numerics 7", api->context_create(0, &options, &context, &error), bad);
  options = (ts_context_options){.struct_size = sizeof options, .numerics = TS_NUMERICS_FAST};
  expect("context_create, fast numerics", api->context_create(0, &options, &context, &error), TS_UNSUPPORTED);
  expect("context_memory(NULL)", api->context_memory(NULL, &stats, &error), bad);
  expect("context_blocks(NULL)", api->context_blocks(NULL, NULL, 0, &number, &error), bad);
  expect("context_check_residency(NULL)", api->context_check_residency(NULL, &report, &error), bad);
  expect("model_begin(NULL)", api->model_begin(NULL, NULL, &model, &error), bad);
  expect("model_load_step(NULL)", api->model_load_step(NULL, 0, &done, &total, &error), bad);
  expect("model_finish(NULL)", api->model_finish(NULL, &error), bad);
  expect("model_info(NULL)", api->model_info(NULL, &info, &error), bad);
  expect("model_destroy(NULL)", api->model_destroy(NULL, &error), TS_OK);
  expect("session_create(NULL)", api->session_create(NULL, NULL, &session, &error), bad);
  expect("session_fork(NULL)", api->session_fork(NULL, 0, &session, &error), bad);
  expect("session_truncate(NULL)", api->session_truncate(NULL, 0, &error), bad);
  expect("session_state(NULL)", api->session_state(NULL, &state, &error), bad);
  expect("session_cancel(NULL)", api->session_cancel(NULL, &error), bad);
  expect("session_destroy(NULL)", api->session_destroy(NULL, &error), TS_OK);
  expect("step(NULL)", api->step(NULL, &item, 1, &error), bad);
  expect("op_run(NULL)", api->op_run(NULL, "add", NULL, 0, NULL, 0, NULL, 0, &error), bad);
  if (context != NULL || model != NULL || session != NULL || error.message[0] == 0) exit(1);
}

/* A caller of version 1.0, whose options end earlier. */
static void accept_earlier_options(const ts_api* api) {
  ts_context* context = NULL;
  const ts_context_options options = {.struct_size = offsetof(ts_context_options, numerics), .numerics = 7};
  expect("context_create, options of 1.0", api->context_create(0, &options, &context, &error), TS_OK);
  expect("context_destroy", api->context_destroy(context, &error), TS_OK);
}

/* What refuse tries, with handles that are good. */
static void refuse_places(const ts_api* api, ts_context* context, ts_model* model, ts_session* session) {
  const ts_status bad = TS_INVALID_ARGUMENT;
  uint64_t done;
  ts_memory_stats stats = {.struct_size = 0};
  ts_residency_report report = {.struct_size = 0};
  ts_model_info info = {.struct_size = 0};
  ts_session_options limits = {.struct_size = 0};
  ts_session_state state = {.struct_size = 0};
  ts_step_item item = {.struct_size = 0};
  ts_session* place = NULL;
  ts_model* second = NULL;
  expect("context_memory, size 0", api->context_memory(context, &stats, &error), bad);
  expect("context_memory, NULL", api->context_memory(context, NULL, &error), bad);
  expect("context_blocks, NULL count", api->context_blocks(context, NULL, 0, NULL, &error), bad);
  expect("context_blocks, NULL blocks", api->context_blocks(context, NULL, 1, &stats.block_count, &error), bad);
  expect("context_check_residency, size 0", api->context_check_residency(context, &report, &error), bad);
  expect("model_begin, NULL desc", api->model_begin(context, NULL, &second, &error), bad);
  expect("model_load_step, NULL total", api->model_load_step(model, 0, &done, NULL, &error), bad);
  expect("model_info, size 0", api->model_info(model, &info, &error), bad);
  expect("session_create, NULL", api->session_create(model, NULL, NULL, &error), bad);
  expect("session_create, size 0", api->session_create(model, &limits, &place, &error), bad);
  expect("session_fork, NULL", api->session_fork(session, 0, NULL, &error), bad);
  expect("session_fork beyond", api->session_fork(session, 1000, &place, &error), bad);
  expect("session_truncate beyond", api->session_truncate(session, 1000, &error), bad);
  expect("session_state, size 0", api->session_state(session, &state, &error), bad);
  expect("step, NULL items", api->step(model, NULL, 1, &error), bad);
  expect("step, no items", api->step(model, &item, 0, &error), bad);
  expect("step, size 0", api->step(model, &item, 1, &error), bad);
  item.struct_size = sizeof item;
  expect("step, no session", api->step(model, &item, 1, &error), bad);
  expect("op_run, NULL name", api->op_run(context, NULL, NULL, 0, NULL, 0, NULL, 0, &error), bad);
  expect("op_run, NULL inputs", api->op_run(context, "add", NULL, 2, NULL, 0, NULL, 0, &error), bad);
  expect("op_run, unknown", api->op_run(context, "none", NULL, 0, NULL, 0, NULL, 0, &error), TS_UNSUPPORTED);
  if (place != NULL || second != NULL || error.message[0] == 0) exit(1);
}

int main(int count, char** arguments) {
  if (count != 2) return 2;
  void* library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  const ts_api* (*get_api)(uint32_t);
  void* symbol = dlsym(library, "ts_get_api");
  memcpy(&get_api, &symbol, sizeof get_api);
  const ts_api* api = get_api(TS_ABI_MAJOR);
  if (api == NULL || get_api(TS_ABI_MAJOR + 1) != NULL || api->struct_size < sizeof(ts_api)) return 1;

  ts_tensor tensors[kTensors] = {
      tensor("token_embd.weight", kWidth, kVocab, 1),        tensor("output_norm.weight", kWidth, 1, 2),
      tensor("blk.0.attn_norm.weight", kWidth, 1, 3),        tensor("blk.0.attn_q.weight", kWidth, kWidth, 4),
      tensor("blk.0.attn_k.weight", kWidth, kHeadDim, 5),    tensor("blk.0.attn_v.weight", kWidth, kHeadDim, 6),
      tensor("blk.0.attn_output.weight", kWidth, kWidth, 7), tensor("blk.0.ffn_norm.weight", kWidth, 1, 8),
      tensor("blk.0.ffn_gate.weight", kWidth, kHidden, 9),   tensor("blk.0.ffn_up.weight", kWidth, kHidden, 10),
      tensor("blk.0.ffn_down.weight", kHidden, kWidth, 11),
  };
  float cosines[kContext * kHeadDim / 2], sines[kContext * kHeadDim / 2];
  for (int i = 0; i < kContext * kHeadDim / 2; i++) {
    const double angle = (i / (kHeadDim / 2)) * pow(10000, -2.0 * (i % (kHeadDim / 2)) / kHeadDim);
    cosines[i] = (float)cos(angle);
    sines[i] = (float)sin(angle);
  }
  ts_model_desc desc = {.struct_size = sizeof desc,
                        .vocab_size = kVocab,
                        .context_length = kContext,
                        .block_count = 1,
                        .embedding_length = kWidth,
                        .feed_forward_length = kHidden,
                        .head_count = 2,
                        .head_count_kv = 1,
                        .head_dim = kHeadDim,
                        .rope_dims = kHeadDim,
                        .norm = TS_NORM_RMS,
                        .position = TS_POSITION_ROPE_NEOX,
                        .activation = TS_ACTIVATION_SWIGLU,
                        .norm_epsilon = 1e-6f,
                        .attention_scale = 0.25f,
                        .rope_cos = cosines,
                        .rope_sin = sines,
                        .tensors = tensors,
                        .tensor_count = kTensors};

  refuse(api);
  accept_earlier_options(api);
  ts_context* context = NULL;
  ts_model* model = NULL;
  ts_session* session = NULL;
  expect("context_create without a place", api->context_create(0, NULL, NULL, &error), TS_INVALID_ARGUMENT);
  expect("context_create", api->context_create(0, NULL, &context, &error), TS_OK);
  desc.struct_size--;
  expect("model_begin of another size", api->model_begin(context, &desc, &model, &error), TS_INVALID_ARGUMENT);
  desc.struct_size++;
  expect("model_begin", api->model_begin(context, &desc, &model, &error), TS_OK);
  for (uint64_t done = 0, total = 1; done < total;) {
    expect("model_load_step", api->model_load_step(model, 1000, &done, &total, &error), TS_OK);
  }
  expect("model_finish", api->model_finish(model, &error), TS_OK);
  for (int i = 0; i < kTensors; i++) free(tensors[i].data);
  expect("session_create", api->session_create(model, NULL, &session, &error), TS_OK);

  refuse_places(api, context, model, session);

  ts_sampling sampling = {.struct_size = sizeof sampling, .top_p = 1, .repetition_penalty = 1};
  int32_t token = 1;
  printf("tokens");
  for (int i = 0; i < kTokens; i++) {
    const int32_t input = token;
    const int earlier = i % 2; /* as a caller of version 1.1, whose sampling ends earlier */
    sampling.struct_size = earlier ? offsetof(ts_sampling, frequency_penalty) : sizeof sampling;
    sampling.frequency_penalty = earlier ? 9.0f : 0.0f;
    ts_step_item item = {.struct_size = sizeof item,
                         .token_count = 1,
                         .session = session,
                         .tokens = &input,
                         .sampling = &sampling,
                         .error = &error};
    expect("step", api->step(model, &item, 1, NULL), TS_OK);
    expect("item", (ts_status)item.status, TS_OK);
    token = item.token;
    printf(" %d", (int)token);
  }
  printf("\n");

  expect("model_destroy with a session", api->model_destroy(model, &error), TS_BUSY);
  expect("session_destroy", api->session_destroy(session, &error), TS_OK);
  expect("model_destroy", api->model_destroy(model, &error), TS_OK);
  ts_memory_stats memory = {.struct_size = sizeof memory};
  expect("context_memory", api->context_memory(context, &memory, &error), TS_OK);
  expect("context_destroy", api->context_destroy(context, &error), TS_OK);
  expect("context_destroy of nothing", api->context_destroy(NULL, &error), TS_OK);
  return memory.block_count == 0 ? 0 : 1;
}
