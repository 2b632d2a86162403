/* Go cannot call function pointers: one line for each function of the table, and opening a shared object. */
#ifndef TOUCHSTONE_BRIDGE_H
#define TOUCHSTONE_BRIDGE_H

#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "include/touchstone.h"

typedef const ts_api* (*get_api_function)(uint32_t major);

static inline void* library_open(const char* path) { return dlopen(path, RTLD_NOW | RTLD_LOCAL); }
static inline const char* library_error(void) {
  const char* text = dlerror();
  return text != NULL ? text : "unknown error";
}
static inline int library_close(void* library) { return dlclose(library); }
static inline void* library_entry(void* library) { return dlsym(library, "ts_get_api"); }
static inline const ts_api* library_api(void* entry, uint32_t major) {
  get_api_function get;
  memcpy(&get, &entry, sizeof get); /* ISO C has no cast from an object pointer to a function pointer */
  return get(major);
}
/* Function number i of the table is missing. */
static inline int function_missing(const ts_api* api, size_t i) {
  void* function;
  memcpy(&function, (const char*)api + offsetof(ts_api, version) + i * sizeof function, sizeof function);
  return function == NULL;
}
static inline size_t function_count(void) {
  return (sizeof(ts_api) - offsetof(ts_api, version)) / sizeof(const char* (*)(void));
}

/* What a step item points to besides the caller's arrays. */
typedef struct step_slot {
  ts_sampling sampling;
  ts_error error;
  int32_t top_tokens[20];
  float top_logprobs[20];
} step_slot;

static inline const char* call_version(const ts_api* api) { return api->version(); }
static inline ts_status call_device_count(const ts_api* api, uint32_t* count, ts_error* error) {
  return api->device_count(count, error);
}
static inline ts_status call_device_properties(const ts_api* api, uint32_t index, ts_device_properties* out,
                                               ts_error* error) {
  return api->device_properties(index, out, error);
}
static inline ts_status call_context_create(const ts_api* api, int64_t index, const ts_context_options* options,
                                            ts_context** out, ts_error* error) {
  return api->context_create(index, options, out, error);
}
static inline ts_status call_context_destroy(const ts_api* api, ts_context* context, ts_error* error) {
  return api->context_destroy(context, error);
}
static inline ts_status call_context_memory(const ts_api* api, ts_context* context, ts_memory_stats* out,
                                            ts_error* error) {
  return api->context_memory(context, out, error);
}
static inline ts_status call_context_blocks(const ts_api* api, ts_context* context, ts_memory_block* blocks,
                                            uint32_t capacity, uint32_t* count, ts_error* error) {
  return api->context_blocks(context, blocks, capacity, count, error);
}
static inline ts_status call_context_check_residency(const ts_api* api, ts_context* context, ts_residency_report* out,
                                                     ts_error* error) {
  return api->context_check_residency(context, out, error);
}
static inline ts_status call_model_begin(const ts_api* api, ts_context* context, const ts_model_desc* desc,
                                         ts_model** out, ts_error* error) {
  return api->model_begin(context, desc, out, error);
}
static inline ts_status call_model_load_step(const ts_api* api, ts_model* model, uint64_t budget, uint64_t* done,
                                             uint64_t* total, ts_error* error) {
  return api->model_load_step(model, budget, done, total, error);
}
static inline ts_status call_model_finish(const ts_api* api, ts_model* model, ts_error* error) {
  return api->model_finish(model, error);
}
static inline ts_status call_model_info(const ts_api* api, ts_model* model, ts_model_info* out, ts_error* error) {
  return api->model_info(model, out, error);
}
static inline ts_status call_model_destroy(const ts_api* api, ts_model* model, ts_error* error) {
  return api->model_destroy(model, error);
}
static inline ts_status call_session_create(const ts_api* api, ts_model* model, const ts_session_options* options,
                                            ts_session** out, ts_error* error) {
  return api->session_create(model, options, out, error);
}
static inline ts_status call_session_fork(const ts_api* api, ts_session* session, uint32_t length, ts_session** out,
                                          ts_error* error) {
  return api->session_fork(session, length, out, error);
}
static inline ts_status call_session_truncate(const ts_api* api, ts_session* session, uint32_t length,
                                              ts_error* error) {
  return api->session_truncate(session, length, error);
}
static inline ts_status call_session_state(const ts_api* api, ts_session* session, ts_session_state* out,
                                           ts_error* error) {
  return api->session_state(session, out, error);
}
static inline ts_status call_session_cancel(const ts_api* api, ts_session* session, ts_error* error) {
  return api->session_cancel(session, error);
}
static inline ts_status call_session_destroy(const ts_api* api, ts_session* session, ts_error* error) {
  return api->session_destroy(session, error);
}
static inline ts_status call_step(const ts_api* api, ts_model* model, ts_step_item* items, uint32_t count,
                                  ts_error* error) {
  return api->step(model, items, count, error);
}
static inline ts_status call_op_run(const ts_api* api, ts_context* context, const char* name, const ts_tensor* inputs,
                                    uint32_t input_count, const ts_tensor* outputs, uint32_t output_count,
                                    const ts_parameter* parameters, uint32_t parameter_count, ts_error* error) {
  return api->op_run(context, name, inputs, input_count, outputs, output_count, parameters, parameter_count, error);
}

#endif /* TOUCHSTONE_BRIDGE_H */
