// Package sim links the SIMT simulator and, compiled as C++, the kernels and the backend of package cuda: the device "sim".
package sim

// #cgo CXXFLAGS: -std=c++20 -O2 -Wall -Wextra -fvisibility=hidden
// #cgo LDFLAGS: -lstdc++ -lm
import "C"

import (
	"embed"

	_ "touchstone/native/cuda"    // rebuilds this package when a kernel or the backend changes
	_ "touchstone/native/include" // ... or the ABI
)

// Headers are what other packages' C++ sources include.
//
//go:embed *.h
var Headers embed.FS
