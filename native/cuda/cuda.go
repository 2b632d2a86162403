// Package cuda holds the CUDA sources. It builds nothing by itself: nvcc makes the plugin from it, and native/sim compiles
// the same files as C++. The embedding makes a change in them change this package, so that Go rebuilds what includes them.
package cuda

import "embed"

// Sources are the kernels, the backend and their headers.
//
//go:embed *.h *.cuh *.cu host/*.h host/*.cc
var Sources embed.FS
