// Package library opens a native library under test and lists the ways in which it computes.
package library

import (
	"fmt"
	"sync"

	"touchstone/native"
)

// Backend is one way to compute that a library offers: a device, and on a CPU also an instruction set.
type Backend struct {
	Name   string // "cpu/scalar", "cpu/avx2", "sim", "cuda:0"
	Device native.DeviceProperties
	Slow   bool // wants few and small cases

	library native.Library
	index   int
	isa     native.ISA
}

// Open opens a context; the caller closes it.
func (b Backend) Open(options native.ContextOptions) (native.Context, error) {
	options.ISA = b.isa
	return b.library.NewContext(b.index, options)
}

// openLibraries holds one library by path for the life of the process: a shared object is opened once.
var openLibraries struct {
	sync.Mutex
	byPath map[string]native.Library
}

// Open is the library at path, or the built-in one for "".
func Open(path string) (native.Library, error) {
	if path == "" {
		return native.Builtin(), nil
	}
	openLibraries.Lock()
	defer openLibraries.Unlock()
	if library, open := openLibraries.byPath[path]; open {
		return library, nil
	}
	library, err := native.OpenLibrary(path)
	if err != nil {
		return nil, err
	}
	if openLibraries.byPath == nil {
		openLibraries.byPath = map[string]native.Library{}
	}
	openLibraries.byPath[path] = library
	return library, nil
}

var isaNames = []struct {
	isa  native.ISA
	name string
}{{native.ISAScalar, "scalar"}, {native.ISAAVX2, "avx2"}, {native.ISAAVX512, "avx512"}, {native.ISANEON, "neon"}}

// Backends are all ways to compute: every instruction set that the processor has, the simulator, and every CUDA device.
func Backends(library native.Library) ([]Backend, error) {
	devices, err := library.Devices()
	if err != nil {
		return nil, err
	}
	var out []Backend
	for index, device := range devices {
		b := Backend{Device: device, library: library, index: index}
		switch device.Kind {
		case native.DeviceCPU:
			for _, isa := range isaNames {
				b.isa, b.Name = isa.isa, "cpu/"+isa.name
				if b.offered() {
					out = append(out, b)
				}
			}
			continue
		case native.DeviceSim:
			b.Name, b.Slow = "sim", true
		case native.DeviceCUDA:
			b.Name = fmt.Sprintf("cuda:%d", device.Ordinal)
		}
		out = append(out, b)
	}
	return out, nil
}

func (b Backend) offered() bool {
	context, err := b.Open(native.ContextOptions{Threads: 1})
	if err != nil {
		return native.StatusOf(err) != native.StatusUnsupported
	}
	return context.Close() == nil
}

// Main is the backend that whole models run on: the CUDA device or simulator that a --device names, or the processor with its
// fastest instruction set.
func Main(library native.Library, wanted string) (Backend, error) {
	devices, err := library.Devices()
	if err != nil {
		return Backend{}, err
	}
	for index, device := range devices {
		name := device.Kind.String()
		if device.Kind == native.DeviceCUDA {
			name = fmt.Sprintf("cuda:%d", device.Ordinal)
		}
		if wanted == name || wanted == "auto" && device.Kind == native.DeviceCPU {
			return Backend{Name: name, Device: device, Slow: device.Kind == native.DeviceSim, library: library, index: index}, nil
		}
	}
	return Backend{}, fmt.Errorf("the library offers no device %q", wanted)
}

// CUDADevices are the backends of kind cuda and, if there is none, those of kind sim.
func CUDADevices(library native.Library) []Backend {
	backends, err := Backends(library)
	if err != nil {
		return nil
	}
	for _, kind := range []native.DeviceKind{native.DeviceCUDA, native.DeviceSim} {
		var found []Backend
		for _, b := range backends {
			if b.Device.Kind == kind {
				found = append(found, b)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}
