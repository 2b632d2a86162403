/*
 * A library that fails as it is told: context_create(n) returns the status n with a text that names it. With it the binding
 * can be shown every status, also those that a healthy library never returns.
 */
#include <stdio.h>

#include "../../../native/include/touchstone.h"

static const char* version(void) { return "failing 1.0.0"; }
static const char* status_name(int32_t status) { return status == TS_OK ? "OK" : "FAILED"; }
static const char* status_text(int32_t status) { return status == TS_OK ? "Done." : "As told."; }

static ts_status device_count(uint32_t* count, ts_error* error) {
  (void)error;
  *count = TS_INTERNAL + 1;
  return TS_OK;
}
static ts_status device_properties(uint32_t index, ts_device_properties* out, ts_error* error) {
  (void)index, (void)error;
  const uint32_t size = out->struct_size;
  *out = (ts_device_properties){.struct_size = size, .name = "failing"};
  return TS_OK;
}
static ts_status context_create(int64_t index, const ts_context_options* options, ts_context** out, ts_error* error) {
  (void)options, (void)out;
  if (error != NULL) {
    error->status = (int32_t)index;
    error->required_bytes = index == TS_OUT_OF_MEMORY ? 1000 : 0;
    error->available_bytes = index == TS_OUT_OF_MEMORY ? 10 : 0;
    snprintf(error->message, sizeof error->message, "told to fail with %d", (int)index);
  }
  return (ts_status)index;
}

/* The functions that nobody reaches without a context. */
static ts_status f1(ts_context* a, ts_error* e) { return (void)a, (void)e, TS_INTERNAL; }
static ts_status f2(ts_context* a, ts_memory_stats* b, ts_error* e) { return (void)a, (void)b, (void)e, TS_INTERNAL; }
static ts_status f3(ts_context* a, ts_memory_block* b, uint32_t c, uint32_t* d, ts_error* e) {
  return (void)a, (void)b, (void)c, (void)d, (void)e, TS_INTERNAL;
}
static ts_status f4(ts_context* a, ts_residency_report* b, ts_error* e) { return (void)a, (void)b, (void)e, TS_INTERNAL; }
static ts_status f5(ts_context* a, const ts_model_desc* b, ts_model** c, ts_error* e) {
  return (void)a, (void)b, (void)c, (void)e, TS_INTERNAL;
}
static ts_status f6(ts_model* a, uint64_t b, uint64_t* c, uint64_t* d, ts_error* e) {
  return (void)a, (void)b, (void)c, (void)d, (void)e, TS_INTERNAL;
}
static ts_status f7(ts_model* a, ts_error* e) { return (void)a, (void)e, TS_INTERNAL; }
static ts_status f8(ts_model* a, ts_model_info* b, ts_error* e) { return (void)a, (void)b, (void)e, TS_INTERNAL; }
static ts_status f9(ts_model* a, const ts_session_options* b, ts_session** c, ts_error* e) {
  return (void)a, (void)b, (void)c, (void)e, TS_INTERNAL;
}
static ts_status f10(ts_session* a, uint32_t b, ts_session** c, ts_error* e) {
  return (void)a, (void)b, (void)c, (void)e, TS_INTERNAL;
}
static ts_status f11(ts_session* a, uint32_t b, ts_error* e) { return (void)a, (void)b, (void)e, TS_INTERNAL; }
static ts_status f12(ts_session* a, ts_session_state* b, ts_error* e) { return (void)a, (void)b, (void)e, TS_INTERNAL; }
static ts_status f13(ts_session* a, ts_error* e) { return (void)a, (void)e, TS_INTERNAL; }
static ts_status f14(ts_model* a, ts_step_item* b, uint32_t c, ts_error* e) {
  return (void)a, (void)b, (void)c, (void)e, TS_INTERNAL;
}
static ts_status f15(ts_context* a, const char* b, const ts_tensor* c, uint32_t d, const ts_tensor* f, uint32_t g,
                     const ts_parameter* h, uint32_t i, ts_error* e) {
  return (void)a, (void)b, (void)c, (void)d, (void)f, (void)g, (void)h, (void)i, (void)e, TS_INTERNAL;
}

static const ts_api api = {
    sizeof(ts_api), TS_ABI_MAJOR, TS_ABI_MINOR, 0, version, status_name, status_text, device_count, device_properties,
    context_create, f1, f2, f3, f4, f5, f6, f7, f8, f7, f9, f10, f11, f12, f13, f13, f14, f15};

const ts_api* ts_get_api(uint32_t major) { return major == TS_ABI_MAJOR ? &api : 0; }
