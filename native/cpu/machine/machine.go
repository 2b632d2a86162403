// Package machine measures what this processor can do at most, so that a benchmark can say how near it comes.
package machine

// #cgo CXXFLAGS: -std=c++20 -O3 -Wall -Wextra -fvisibility=hidden
// #include "machine.h"
import "C"

// Rates are the two limits of every kernel.
type Rates struct {
	FMA  float64 // floating-point operations a second, two for each fused multiply-add
	Read float64 // bytes read from memory a second
}

// Measure measures the rates of so many threads together; each is the best of several tries. It takes about a second and
// 256 MiB a thread.
func Measure(threads int) Rates {
	return Rates{FMA: 1e9 * float64(C.machine_fma_peak(C.int(threads))), Read: 1e9 * float64(C.machine_read_bandwidth(C.int(threads)))}
}
