/* Measurements of single CPU kernels, driven by main.go. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/*
 * One linear layer of `inputs` and `outputs` on `rows` rows and one thread: the best seconds of that thread in the
 * canonical order, or with chains over all inputs (free order). `isa` is a ts_isa, dtype the ts_dtype of the weights.
 * Negative where the processor lacks the instruction set; the free order exists for TS_F16 and TS_Q8_0 on AVX-512
 * alone.
 */
double bench_linear(int isa, int dtype, int inputs, int outputs, int rows, int free_order);

/* Name of an instruction set, or null if the processor lacks it. */
const char* bench_isa(int isa);

#ifdef __cplusplus
}
#endif
