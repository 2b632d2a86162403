// Package cpu holds the kernels for the host's processor and the backend that drives them; it has no Go interface of its own.
// Package native links it.
package cpu

// #cgo CXXFLAGS: -std=c++20 -O3 -Wall -Wextra -fvisibility=hidden
import "C"

import (
	"embed"

	_ "touchstone/native/core" // rebuilds this package when the shared headers change
)

// Headers are what the checks and benchmarks of the kernels include.
//
//go:embed *.h
var Headers embed.FS
