// Package simtest drives planted kernels through the simulator, for its tests: cgo cannot be used in test files.
package simtest

/*
#cgo CXXFLAGS: -std=c++20 -O2 -Wall
#cgo LDFLAGS: -lstdc++ -lm
#include <stdlib.h>
#include "simtest.h"
*/
import "C"

import (
	"unsafe"

	_ "touchstone/native/sim" // the simulator itself
)

// Result is how a launch ended. Code is 0 for success; see gpu::Code. Kind, Block, Thread, File and Line describe a fault.
type Result struct {
	Code          int
	Status, Kind  string
	Block, Thread [3]int
	File          string
	Line          int
}

func newResult(r *C.simtest_result) Result {
	result := Result{Code: int(r.code), Status: C.GoString(&r.status[0]), Kind: C.GoString(&r.kind[0]),
		File: C.GoString(&r.file[0]), Line: int(r.line)}
	for i := range 3 {
		result.Block[i], result.Thread[i] = int(r.block[i]), int(r.thread[i])
	}
	return result
}

// RunPlanted runs a planted kernel; line is where its source marks the error. Calls must not overlap.
func RunPlanted(name string, seed uint64) (result Result, line int) {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	r := C.simtest_run_planted(cName, C.uint64_t(seed))
	return newResult(&r), int(C.simtest_planted_line())
}

// Sanitized says whether AddressSanitizer is compiled in.
func Sanitized() bool { return C.simtest_sanitized() != 0 }

// RunAlgorithm returns the index of the first element that differs from a plain loop, -1 if none does, -2 if the run failed.
func RunAlgorithm(name string, inputSeed, seed uint64) (difference int, hash uint64, result Result) {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	var cHash C.uint64_t
	var r C.simtest_result
	d := C.simtest_run_algorithm(cName, C.uint64_t(inputSeed), C.uint64_t(seed), &cHash, &r)
	return int(d), uint64(cHash), newResult(&r)
}

// HostCanRead says whether the host may read device memory: 1 yes, 0 no, -1 the attempt itself failed.
func HostCanRead(guard bool) int {
	var g C.int
	if guard {
		g = 1
	}
	return int(C.simtest_host_can_read(g))
}

// Memory runs the memory scenario and returns what went wrong first, or "".
func Memory() string { return C.GoString(C.simtest_memory()) }

// FailAllocation fails the n-th of four allocations and returns how many blocks are live after cleaning up.
func FailAllocation(n int) (live, code int, text string) {
	var cCode C.int
	var buffer [512]C.char
	live = int(C.simtest_fail_allocation(C.int(n), &cCode, &buffer[0], C.int(len(buffer))))
	return live, int(cCode), C.GoString(&buffer[0])
}

// Unpack packs and unpacks random rows of a format and returns what differs, or "".
func Unpack(dtype int, seed uint64) string {
	return C.GoString(C.simtest_unpack(C.int(dtype), C.uint64_t(seed)))
}

// FastLinear runs a linear layer of the fast numerics in small slices and returns what is wrong, or "".
func FastLinear(dtype int, seed uint64) string {
	return C.GoString(C.simtest_fast_linear(C.int(dtype), C.uint64_t(seed)))
}

// FastBackend runs layers of few and of many rows and returns what is wrong, or "".
func FastBackend() string { return C.GoString(C.simtest_fast_backend()) }

// NanosecondsPerThread measures a kernel with that many barriers.
func NanosecondsPerThread(barriers, blocks, threads int) float64 {
	return float64(C.simtest_nanoseconds_per_thread(C.int(barriers), C.int(blocks), C.int(threads)))
}

// Math computes one operation of simt_math.h on bit patterns.
func Math(name string, a, b, c uint32) uint32 {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	return uint32(C.simtest_math(cName, C.uint32_t(a), C.uint32_t(b), C.uint32_t(c)))
}
