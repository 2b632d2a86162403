package native

/*
#cgo CFLAGS: -std=c11 -O2 -Wall -Wextra
#cgo CXXFLAGS: -std=c++20 -O2 -Wall -Wextra -fvisibility=hidden
#cgo LDFLAGS: -lstdc++ -lm -ldl
#include "bridge.h"
*/
import "C"

import (
	"fmt"
	"math"
	"unsafe"

	_ "touchstone/native/core"    // the forward pass
	_ "touchstone/native/cpu"     // the kernels of the processor
	_ "touchstone/native/include" // the ABI's header
	_ "touchstone/native/sim"     // the simulator
)

// ABIMajor is the version of the ABI that this package speaks.
const ABIMajor = uint32(C.TS_ABI_MAJOR)

type library struct {
	handle
	api      *C.ts_api
	shared   unsafe.Pointer // from dlopen; nil for the built-in library
	contexts int            // guarded by handle.mu
}

// Builtin is the implementation that is linked into this program: the CPU and the simulator.
func Builtin() Library {
	return &library{api: C.ts_get_api(C.TS_ABI_MAJOR)}
}

// OpenLibrary loads a shared object that implements the ABI. A file that cannot be loaded is StatusInvalidArgument with the
// loader's text; one that lacks the entry point, the version or a function is StatusABIMismatch.
func OpenLibrary(path string) (Library, error) {
	shared, entry, err := openShared(path)
	if err != nil {
		return nil, err
	}
	api := C.library_api(entry, C.TS_ABI_MAJOR)
	if err := checkTable(path, api); err != nil {
		C.library_close(shared)
		return nil, err
	}
	l := &library{api: api, shared: shared}
	watch(l, &l.handle, "library")
	return l, nil
}

// Speaks tells whether a shared object, or the built-in library if path is empty, hands out a table for a major version
// of the ABI.
func Speaks(path string, major uint32) (bool, error) {
	if path == "" {
		return C.ts_get_api(C.uint32_t(major)) != nil, nil
	}
	shared, entry, err := openShared(path)
	if err != nil {
		return false, err
	}
	defer C.library_close(shared)
	return C.library_api(entry, C.uint32_t(major)) != nil, nil
}

func openShared(path string) (shared, entry unsafe.Pointer, err error) {
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	shared = C.library_open(cPath)
	if shared == nil {
		return nil, nil, invalid("cannot load the library: %s", C.GoString(C.library_error()))
	}
	if entry = C.library_entry(shared); entry == nil {
		C.library_close(shared)
		return nil, nil, &Error{Status: StatusABIMismatch, Message: path + " has no function ts_get_api; it does not implement the ABI"}
	}
	return shared, entry, nil
}

// functionNames are the functions of the table in its order.
var functionNames = [...]string{"version", "status_name", "status_text", "device_count", "device_properties", "context_create",
	"context_destroy", "context_memory", "context_blocks", "context_check_residency", "model_begin", "model_load_step",
	"model_finish", "model_info", "model_destroy", "session_create", "session_fork", "session_truncate", "session_state",
	"session_cancel", "session_destroy", "step", "op_run"}

func checkTable(path string, api *C.ts_api) error {
	mismatch := func(format string, args ...any) error {
		return &Error{Status: StatusABIMismatch, Message: path + ": " + fmt.Sprintf(format, args...)}
	}
	if api == nil {
		return mismatch("the library does not speak version %d of the ABI", ABIMajor)
	}
	if uint32(api.abi_major) != ABIMajor {
		return mismatch("the table is of version %d of the ABI, not %d", uint32(api.abi_major), ABIMajor)
	}
	if uint64(api.struct_size) < C.sizeof_ts_api {
		return mismatch("the table has %d bytes, fewer than the %d of version %d.%d", uint32(api.struct_size), C.sizeof_ts_api, ABIMajor,
			C.TS_ABI_MINOR)
	}
	for i := range C.function_count() {
		if C.function_missing(api, i) != 0 {
			return mismatch("the function %s is missing", functionNames[i])
		}
	}
	return nil
}

func newError() C.ts_error {
	return C.ts_error{struct_size: C.sizeof_ts_error}
}

// toError makes a Go error of a status and its detail.
func toError(status C.ts_status, detail *C.ts_error) error {
	if status == C.TS_OK {
		return nil
	}
	return &Error{Status: Status(status), Message: C.GoString(&detail.message[0]), Required: uint64(detail.required_bytes),
		Available: uint64(detail.available_bytes)}
}

func (l *library) Version() string {
	if l.begin() != nil {
		return ""
	}
	defer l.end()
	return C.GoString(C.call_version(l.api))
}

func (l *library) Devices() ([]DeviceProperties, error) {
	if err := l.begin(); err != nil {
		return nil, err
	}
	defer l.end()
	detail := newError()
	var count C.uint32_t
	if err := toError(C.call_device_count(l.api, &count, &detail), &detail); err != nil {
		return nil, err
	}
	devices := make([]DeviceProperties, count)
	for i := range devices {
		var err error
		if devices[i], err = l.device(i); err != nil {
			return nil, err
		}
	}
	return devices, nil
}

func (l *library) device(index int) (DeviceProperties, error) {
	detail := newError()
	p := C.ts_device_properties{struct_size: C.sizeof_ts_device_properties}
	if err := toError(C.call_device_properties(l.api, C.uint32_t(index), &p, &detail), &detail); err != nil {
		return DeviceProperties{}, err
	}
	return DeviceProperties{Kind: DeviceKind(p.kind), Ordinal: int(p.ordinal), Name: C.GoString(&p.name[0]), ISA: C.GoString(&p.isa[0]),
		UUID: C.GoString(&p.uuid[0]), ComputeMajor: int(p.compute_major), ComputeMinor: int(p.compute_minor),
		Multiprocessors: int(p.multiprocessors), DriverVersion: int(p.driver_version), RuntimeVersion: int(p.runtime_version),
		MemoryTotal: uint64(p.memory_total_bytes), MemoryFree: uint64(p.memory_free_bytes)}, nil
}

func (l *library) NewContext(device int, options ContextOptions) (Context, error) {
	if options.Threads < 0 || int64(options.Threads) > math.MaxUint32 {
		return nil, invalid("Threads is %d; it must be 0 to %d", options.Threads, uint32(math.MaxUint32))
	}
	if err := l.begin(); err != nil {
		return nil, err
	}
	defer l.end()
	o := C.ts_context_options{struct_size: C.sizeof_ts_context_options, threads: C.uint32_t(options.Threads), isa: C.int32_t(options.ISA),
		memory_limit_bytes: C.uint64_t(options.MemoryLimit), fail_allocation: C.uint64_t(options.FailAllocation),
		order_seed: C.uint64_t(options.OrderSeed), numerics: C.int32_t(options.Numerics)}
	if options.PoisonMemory {
		o.poison_memory = 1
	}
	detail := newError()
	var ptr *C.ts_context
	if err := toError(C.call_context_create(l.api, C.int64_t(device), &o, &ptr, &detail), &detail); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.contexts++
	l.mu.Unlock()
	c := &nativeContext{library: l, ptr: ptr, index: device}
	watch(c, &c.handle, "context")
	return c, nil
}

func (l *library) Close() error {
	if l.shared == nil {
		return nil
	}
	return l.close(func() error {
		if l.contexts > 0 {
			return &Error{Status: StatusBusy, Message: fmt.Sprintf("the library has %d contexts; close them first", l.contexts)}
		}
		if C.library_close(l.shared) != 0 {
			return &Error{Status: StatusInternal, Message: C.GoString(C.library_error())}
		}
		return nil
	})
}
