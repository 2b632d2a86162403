/* What the processor can do at most, measured. Wall-clock time; every call waits for all its threads. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Fused multiply-adds of all threads, in 1e9 operations a second (two for each fma). */
double machine_fma_peak(int threads);
/* Bytes that all threads read from memory, in 1e9 a second. Takes 256 MiB a thread. */
double machine_read_bandwidth(int threads);

#ifdef __cplusplus
}
#endif
