package target

import (
	"context"

	"touchstone/native"
	"touchstone/suites/library"
	"touchstone/suites/toolchain"
)

// Library is the native library under test: the built-in one, or the one that --native-lib names.
func (t *Target) Library() (native.Library, error) { return library.Open(t.Profile.NativeLib) }

// Backends are all ways in which the library under test computes.
func (t *Target) Backends() ([]library.Backend, error) {
	opened, err := t.Library()
	if err != nil {
		return nil, err
	}
	return library.Backends(opened)
}

// Main is the backend that whole models run on, as --device says.
func (t *Target) Main() (library.Backend, error) {
	opened, err := t.Library()
	if err != nil {
		return library.Backend{}, err
	}
	return library.Main(opened, t.Profile.Device)
}

// CUDADevices are the library's devices of kind cuda and, if there is none, those of kind sim.
func (t *Target) CUDADevices() []library.Backend {
	opened, err := t.Library()
	if err != nil {
		return nil
	}
	return library.CUDADevices(opened)
}

// Simulated tells whether the CUDA layer runs on the simulator.
func (t *Target) Simulated() bool {
	if !t.Has(Native) {
		return false
	}
	devices := t.CUDADevices()
	return len(devices) > 0 && devices[0].Device.Kind == native.DeviceSim
}

// cudaHardware names the CUDA devices that the library under test offers, as it names them.
func (t *Target) cudaHardware() []string {
	if !t.Has(Native) || t.Simulated() {
		return nil
	}
	var names []string
	for _, device := range t.CUDADevices() {
		names = append(names, device.Device.Name)
	}
	return names
}

// SharedLibrary is the library under test as a shared object: the one that --native-lib names, or the built-in one.
func (t *Target) SharedLibrary(ctx context.Context) (string, error) {
	if t.Profile.NativeLib != "" {
		return t.Profile.NativeLib, nil
	}
	return toolchain.BuiltinLibrary(ctx)
}
