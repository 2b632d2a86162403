// Package cputest drives single CPU kernels and compares them, bit for bit, with a plain rendering of NUMERICS.md.
package cputest

// #cgo CXXFLAGS: -std=c++20 -O2 -Wall -Wextra
// #cgo LDFLAGS: -Wl,--unresolved-symbols=ignore-all
// #include <stdlib.h>
// #include "cputest.h"
import "C"

import (
	"unsafe"

	_ "touchstone/native/cpu" // the kernels under test
)

// Run runs a check on an instruction set (a ts_isa). It returns "" if the check holds, "absent" if the processor lacks the
// instruction set, and otherwise what diverged first.
func Run(check string, isa int, seed uint64) string {
	name := C.CString(check)
	defer C.free(unsafe.Pointer(name))
	return C.GoString(C.cputest_run(name, C.int(isa), C.uint64_t(seed)))
}
