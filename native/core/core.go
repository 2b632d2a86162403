// Package core compiles the backend-neutral part of the native library: the ABI's functions, models, sessions, the KV
// cache and the forward pass. It is linked into package native; its devices come from the packages of the backends.
package core

// #cgo CXXFLAGS: -std=c++20 -O3 -Wall -Wextra -fvisibility=hidden
// #cgo LDFLAGS: -lstdc++ -lm
import "C"

import (
	"embed"

	_ "touchstone/native/include" // rebuilds this package when the ABI changes
)

// Headers are what the C++ sources of the backends include; all others are core's own.
//
//go:embed backend.h devices.h formats.h numerics.h sampling.h status.h
var Headers embed.FS
