/*
 * A client of the ABI in plain C: loads a library, checks its table, and generates tokens with a model made here.
 *
 *   generate LIBRARY   prints "tokens" and 12 ids; exits 1 with one line about what is wrong
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../native/include/touchstone.h"

enum { kVocab = 11, kWidth = 8, kHeads = 2, kKvHeads = 1, kHeadDim = 4, kForward = 16, kContext = 64, kTokens = 12 };

static int fail(const char* what, const char* detail) {
  fprintf(stderr, "%s: %s\n", what, detail);
  exit(1);
}

static void check(const char* what, ts_status status, const ts_error* error) {
  if (status != TS_OK) fail(what, error->message);
}

/* Weights in -0.5 ... 0.5 from a linear congruential generator, so that a client in another language makes the same. */
static uint32_t state = 1;
static float next_weight(void) {
  state = state * 1664525u + 1013904223u;
  return (float)(state >> 8) / 16777216.0f - 0.5f;
}

static ts_tensor tensors[16];
static uint32_t tensor_count;
static void add(const char* name, uint64_t columns, uint64_t rows) {
  ts_tensor* t = &tensors[tensor_count++];
  float* data = malloc(columns * rows * sizeof *data);
  if (data == NULL) fail("malloc", name);
  for (uint64_t i = 0; i < columns * rows; i++) data[i] = next_weight();
  t->name = name;
  t->dtype = TS_F32;
  t->dims = rows == 1 ? 1 : 2;
  t->shape[0] = columns;
  t->shape[1] = rows;
  t->shape[2] = t->shape[3] = 1;
  t->data = data;
  t->bytes = columns * rows * sizeof *data;
}

/* Every function of the table must be there, up to the last one this program knows. */
static void check_table(const ts_api* api) {
  const void* const* table = (const void* const*)(const void*)&api->version;
  const size_t count = (sizeof *api - offsetof(ts_api, version)) / sizeof *table;
  char text[64];
  if (api->struct_size < sizeof *api) {
    snprintf(text, sizeof text, "%u bytes, want at least %zu", api->struct_size, sizeof *api);
    fail("struct_size of the table", text);
  }
  if (api->abi_major != TS_ABI_MAJOR) fail("abi_major", "not the version asked for");
  for (size_t i = 0; i < count; i++) {
    snprintf(text, sizeof text, "function number %zu of %zu is missing", i, count);
    if (table[i] == NULL) fail("table", text);
  }
}

static void check_status_names(const ts_api* api) {
  static const char* const names[] = {
      "OK",          "INVALID_ARGUMENT", "DEVICE_NOT_FOUND", "INVALID_DEVICE",   "OUT_OF_MEMORY",
      "MODEL_LOAD_FAILED", "UNSUPPORTED", "INFERENCE_FAILED", "RESIDENCY_FAILED", "KERNEL_LAUNCH_FAILED",
      "CONTEXT_LENGTH_EXCEEDED", "CANCELLED", "BUSY", "ABI_MISMATCH", "INTERNAL"};
  for (int i = 0; i <= TS_INTERNAL; i++) {
    const char* name = api->status_name(i);
    const char* text = api->status_text(i);
    if (name == NULL || strcmp(name, names[i]) != 0) fail("status_name", names[i]);
    if (text == NULL || strlen(text) < 3) fail("status_text", names[i]);
  }
  if (strcmp(api->status_name(999), "UNKNOWN") != 0) fail("status_name", "999 is not UNKNOWN");
}

/* A struct of a size that the library does not know must be refused, not read. */
static void check_struct_sizes(const ts_api* api) {
  ts_error error = {.struct_size = sizeof error};
  ts_device_properties properties = {.struct_size = 12};
  if (api->device_properties(0, &properties, &error) != TS_INVALID_ARGUMENT) fail("device_properties", "took a struct_size of 12");
  ts_context_options options = {.struct_size = sizeof options + 64};
  ts_context* context = NULL;
  if (api->context_create(0, &options, &context, &error) != TS_INVALID_ARGUMENT) fail("context_create", "took an unknown struct_size");
  if (api->device_count(NULL, &error) != TS_INVALID_ARGUMENT) fail("device_count", "took NULL");
  if (error.status != TS_INVALID_ARGUMENT || error.message[0] == '\0') fail("ts_error", "not filled on failure");
  uint32_t count = 0;
  if (api->device_count(&count, &error) != TS_OK || count == 0) fail("device_count", "no device");
  if (error.status != TS_OK || error.message[0] != '\0') fail("ts_error", "not reset on success");
  if (api->device_count(&count, NULL) != TS_OK) fail("device_count", "does not take a NULL error");
}

int main(int argc, char** argv) {
  if (argc != 2) return fail("usage", "generate LIBRARY");
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) return fail("dlopen", dlerror());
  const ts_api* (*get_api)(uint32_t) = NULL;
  *(void**)&get_api = dlsym(library, "ts_get_api");
  if (get_api == NULL) return fail("dlsym", "ts_get_api is missing");
  if (get_api(TS_ABI_MAJOR + 1) != NULL || get_api(0) != NULL) return fail("handshake", "a wrong major version was accepted");
  const ts_api* api = get_api(TS_ABI_MAJOR);
  if (api == NULL) return fail("handshake", "the right major version was refused");
  check_table(api);
  check_status_names(api);
  check_struct_sizes(api);

  ts_error error = {.struct_size = sizeof error};
  ts_context* context = NULL;
  check("context_create", api->context_create(0, NULL, &context, &error), &error);

  static float cosines[kContext * kHeadDim / 2], sines[kContext * kHeadDim / 2];
  for (int i = 0; i < kContext * kHeadDim / 2; i++) cosines[i] = 1.0f;
  add("token_embd.weight", kWidth, kVocab);
  add("output_norm.weight", kWidth, 1);
  add("output.weight", kWidth, kVocab);
  add("blk.0.attn_norm.weight", kWidth, 1);
  add("blk.0.attn_q.weight", kWidth, kHeads * kHeadDim);
  add("blk.0.attn_k.weight", kWidth, kKvHeads * kHeadDim);
  add("blk.0.attn_v.weight", kWidth, kKvHeads * kHeadDim);
  add("blk.0.attn_output.weight", kHeads * kHeadDim, kWidth);
  add("blk.0.ffn_norm.weight", kWidth, 1);
  add("blk.0.ffn_gate.weight", kWidth, kForward);
  add("blk.0.ffn_up.weight", kWidth, kForward);
  add("blk.0.ffn_down.weight", kForward, kWidth);
  const ts_model_desc desc = {
      .struct_size = sizeof desc, .vocab_size = kVocab, .context_length = kContext, .block_count = 1,
      .embedding_length = kWidth, .feed_forward_length = kForward, .head_count = kHeads, .head_count_kv = kKvHeads,
      .head_dim = kHeadDim, .rope_dims = kHeadDim, .norm = TS_NORM_RMS, .position = TS_POSITION_ROPE_NEOX,
      .activation = TS_ACTIVATION_SWIGLU, .norm_epsilon = 1e-5f, .attention_scale = 0.5f, .rope_cos = cosines,
      .rope_sin = sines, .tensors = tensors, .tensor_count = tensor_count};
  ts_model* model = NULL;
  check("model_begin", api->model_begin(context, &desc, &model, &error), &error);
  for (uint64_t done = 0, total = 1; done < total;)
    check("model_load_step", api->model_load_step(model, 0, &done, &total, &error), &error);
  check("model_finish", api->model_finish(model, &error), &error);
  ts_session* session = NULL;
  check("session_create", api->session_create(model, NULL, &session, &error), &error);
  if (api->context_destroy(context, &error) != TS_BUSY) fail("context_destroy", "destroyed a context that has a model");
  if (api->model_destroy(model, &error) != TS_BUSY) fail("model_destroy", "destroyed a model that has a session");

  printf("tokens");
  int32_t token = 1;
  const ts_sampling greedy = {.struct_size = sizeof greedy, .top_p = 1, .repetition_penalty = 1.3f};
  for (int i = 0; i < kTokens; i++) {
    ts_step_item item = {.struct_size = sizeof item, .token_count = 1, .session = session, .tokens = &token,
                         .sampling = &greedy, .error = &error};
    check("step", api->step(model, &item, 1, &error), &error);
    check("step item", (ts_status)item.status, &error);
    if (item.token < 0 || item.token >= kVocab) fail("step", "the token is not in the vocabulary");
    token = item.token;
    printf(" %d", (int)token);
  }
  printf("\n");
  check("session_destroy", api->session_destroy(session, &error), &error);
  check("model_destroy", api->model_destroy(model, &error), &error);
  check("context_destroy", api->context_destroy(context, &error), &error);
  if (api->session_destroy(NULL, &error) != TS_OK) fail("session_destroy", "NULL does something");
  return 0;
}
