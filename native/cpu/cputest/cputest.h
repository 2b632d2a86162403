/* Checks of the CPU kernels, run by cputest_test.go. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Runs the check `name` with random data from `seed` on instruction set `isa` (ts_isa). Returns NULL if it holds,
 * "absent" if the processor lacks the instruction set, otherwise what diverged first; the text is valid until the next
 * call.
 */
const char* cputest_run(const char* name, int isa, uint64_t seed);

#ifdef __cplusplus
}
#endif
