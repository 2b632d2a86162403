// The C entry points with which Go tests drive planted kernels on the simulator.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// What a run left behind. Names and texts are NUL-terminated.
typedef struct {
  int code;  // of the gpu::Status
  char status[512];
  char kind[64];  // name of the fault
  unsigned block[3], thread[3];
  char file[128];  // without folders
  int line;
} simtest_result;

// Runs a planted kernel by name with the given seed; unknown names give code -1.
simtest_result simtest_run_planted(const char* name, uint64_t seed);

// The line that the planted kernel run last marked as its error; 0 if it marked none.
int simtest_planted_line(void);

// Whether AddressSanitizer is compiled in: it ends the process at an overrun, so planted overruns cannot be run.
int simtest_sanitized(void);

// Runs an algorithm on inputs made from `input_seed` and compares with a plain loop; -1 if all is equal, else the index
// of the first difference; -2 if the run failed (see *result). `hash` receives a hash of the output.
long simtest_run_algorithm(const char* name, uint64_t input_seed, uint64_t seed, uint64_t* hash,
                           simtest_result* result);

// A host read of device memory under the given guard mode, asked of the kernel of the operating system instead of
// risking a signal: 1 readable, 0 refused, -1 the test itself failed.
int simtest_host_can_read(int guard);

// Runs the memory scenario and returns an empty text, or what went wrong first.
const char* simtest_memory(void);

// Fails allocation `n` (from 1) of a job that makes four, and returns how many were live after the job cleaned up; the
// status' code goes to *code.
int simtest_fail_allocation(int n, int* code, char* text, int text_bytes);

// Nanoseconds per thread of a kernel with `barriers` barriers over `blocks` blocks of `threads`.
double simtest_nanoseconds_per_thread(int barriers, int blocks, int threads);

// Random stored rows of a format (ts_dtype) packed into a weight and unpacked to binary16; an empty text, or what
// differs from the values of core/formats.h. The text lives until the next call.
const char* simtest_unpack(int dtype, uint64_t seed);

// A linear layer of the fast numerics in small slices, over a multiplier of the test's own; likewise.
const char* simtest_fast_linear(int dtype, uint64_t seed);

// Which layers a backend with that multiplier leaves to it; likewise.
const char* simtest_fast_backend(void);

// The bits of a conversion or operation of simt_math.h; `name` selects it, the operands are bit patterns.
uint32_t simtest_math(const char* name, uint32_t a, uint32_t b, uint32_t c);

#ifdef __cplusplus
}
#endif
