/* Measurements of the CPU kernels, driven by main.go. Times are wall-clock seconds unless a line says otherwise; every
 * call waits for all its threads. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Name of the fastest instruction set here. */
const char* bench_isa(void);
/* Cores that this process may use. */
int bench_cores(void);
/* Fused multiply-adds of all threads, in 1e9 operations a second (two for each fma). */
double bench_fma_peak(int threads);
/* Bytes that all threads read from memory, in 1e9 a second. */
double bench_read_bandwidth(int threads);

/* A model of exactly Qwen2.5-0.5B's shape with random weights. */
typedef struct bench_model bench_model;
/* Opens it on `isa` (ts_isa) with all linear weights of a format (ts_dtype). NULL with text in *error on failure. */
bench_model* bench_open(int isa, int threads, int dtype, const char** error);
void bench_close(bench_model* model);
/* Bytes of the weights that a token reads, and of all weights. */
uint64_t bench_weight_bytes(const bench_model* model);
/* Seconds that bringing the weights into their layout took. */
double bench_load_seconds(const bench_model* model);
/* Operations of one token without attention: two for each weight. */
double bench_token_operations(const bench_model* model);
/* Evaluates `rows` tokens at positions `first` ...; logits of the last. Returns seconds, negative on failure. */
double bench_step(bench_model* model, int first, int rows);

/*
 * One linear layer of `inputs` and `outputs` on `rows` rows and one thread: seconds of that thread in the canonical
 * order, or with chains over all inputs (free order). dtype is TS_F16 or TS_Q8_0. AVX-512 only; negative elsewhere.
 */
double bench_linear(int dtype, int inputs, int outputs, int rows, int free_order);

#ifdef __cplusplus
}
#endif
