package native

// #include "bridge.h"
import "C"

import (
	"math"
	"runtime"
	"unsafe"
)

// cMemory is C memory and pinned Go memory that one or several calls use.
type cMemory struct {
	pinner runtime.Pinner
	blocks []unsafe.Pointer
}

func (m *cMemory) free() {
	m.pinner.Unpin()
	for _, block := range m.blocks {
		C.free(block)
	}
	m.blocks = nil
}

// zeroed gives bytes of C memory. Like Go's own allocator, C.malloc ends the program when the host has none left.
func (m *cMemory) zeroed(bytes uintptr) unsafe.Pointer {
	block := C.malloc(C.size_t(max(bytes, 1)))
	clear(unsafe.Slice((*byte)(block), bytes))
	m.blocks = append(m.blocks, block)
	return block
}

func (m *cMemory) text(s string) *C.char {
	text := C.CString(s)
	m.blocks = append(m.blocks, unsafe.Pointer(text))
	return text
}

// pin gives the address of the first element, which stays there until free.
func pin[T any](m *cMemory, slice []T) *T {
	if len(slice) == 0 {
		return nil
	}
	m.pinner.Pin(&slice[0])
	return &slice[0]
}

// tensors makes an array of ts_tensor whose data are the Go slices themselves.
func (m *cMemory) tensors(tensors []Tensor) (*C.ts_tensor, error) {
	if len(tensors) == 0 {
		return nil, nil
	}
	if len(tensors) > math.MaxInt32 {
		return nil, invalid("%d tensors are too many", len(tensors))
	}
	first := (*C.ts_tensor)(m.zeroed(uintptr(len(tensors)) * C.sizeof_ts_tensor))
	array := unsafe.Slice(first, len(tensors))
	for i, t := range tensors {
		if len(t.Shape) == 0 || len(t.Shape) > C.TS_MAX_DIMS {
			return nil, invalid("tensor %d (%s) has %d dimensions; it must have 1 to %d", i, t.Name, len(t.Shape), C.TS_MAX_DIMS)
		}
		c := &array[i]
		if t.Name != "" {
			c.name = m.text(t.Name)
		}
		c.dtype = C.int32_t(t.DType)
		c.dims = C.uint32_t(len(t.Shape))
		for d := range c.shape {
			c.shape[d] = 1
			if d < len(t.Shape) {
				c.shape[d] = C.uint64_t(t.Shape[d])
			}
		}
		c.data = unsafe.Pointer(pin(m, t.Data))
		c.bytes = C.uint64_t(len(t.Data))
	}
	return first, nil
}

// RunOp runs one operation; see Context.
func (c *nativeContext) RunOp(op Op) error {
	if err := c.begin(); err != nil {
		return err
	}
	defer c.end()
	var memory cMemory
	defer memory.free()
	inputs, err := memory.tensors(op.Inputs)
	if err != nil {
		return err
	}
	outputs, err := memory.tensors(op.Outputs)
	if err != nil {
		return err
	}
	var parameters *C.ts_parameter
	if len(op.Parameters) > 0 {
		parameters = (*C.ts_parameter)(memory.zeroed(uintptr(len(op.Parameters)) * C.sizeof_ts_parameter))
		array := unsafe.Slice(parameters, len(op.Parameters))
		i := 0
		for name, value := range op.Parameters {
			array[i] = C.ts_parameter{name: memory.text(name), value: C.double(value)}
			i++
		}
	}
	detail := newError()
	return toError(C.call_op_run(c.library.api, c.ptr, memory.text(op.Name), inputs, C.uint32_t(len(op.Inputs)), outputs,
		C.uint32_t(len(op.Outputs)), parameters, C.uint32_t(len(op.Parameters)), &detail), &detail)
}
