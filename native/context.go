package native

// #include "bridge.h"
import "C"

import "runtime"

type nativeContext struct {
	handle
	library *library
	ptr     *C.ts_context
	index   int
}

func (c *nativeContext) Device() (DeviceProperties, error) {
	if err := c.begin(); err != nil {
		return DeviceProperties{}, err
	}
	defer c.end()
	return c.library.device(c.index)
}

func (c *nativeContext) Memory() (MemoryStats, error) {
	if err := c.begin(); err != nil {
		return MemoryStats{}, err
	}
	defer c.end()
	detail := newError()
	m := C.ts_memory_stats{struct_size: C.sizeof_ts_memory_stats}
	if err := toError(C.call_context_memory(c.library.api, c.ptr, &m, &detail), &detail); err != nil {
		return MemoryStats{}, err
	}
	return MemoryStats{Blocks: int(m.block_count), Weights: uint64(m.weights_bytes), KV: uint64(m.kv_bytes),
		Activations: uint64(m.activations_bytes), Other: uint64(m.other_bytes), Peak: uint64(m.peak_bytes), Limit: uint64(m.limit_bytes),
		Allocations: uint64(m.allocations)}, nil
}

func (c *nativeContext) Blocks() ([]MemoryBlock, error) {
	if err := c.begin(); err != nil {
		return nil, err
	}
	defer c.end()
	detail := newError()
	var blocks []C.ts_memory_block
	for {
		var count C.uint32_t
		var first *C.ts_memory_block
		if len(blocks) > 0 {
			first = &blocks[0]
		}
		if err := toError(C.call_context_blocks(c.library.api, c.ptr, first, C.uint32_t(len(blocks)), &count, &detail), &detail); err != nil {
			return nil, err
		}
		if int(count) <= len(blocks) {
			blocks = blocks[:count]
			break
		}
		blocks = make([]C.ts_memory_block, count)
	}
	out := make([]MemoryBlock, len(blocks))
	for i := range blocks {
		b := &blocks[i]
		out[i] = MemoryBlock{ID: uint64(b.id), Address: uint64(b.address), Bytes: uint64(b.bytes), Kind: MemoryKind(b.kind),
			Space: MemorySpace(b.space), Label: C.GoString(&b.label[0])}
	}
	return out, nil
}

func (c *nativeContext) CheckResidency() (ResidencyReport, error) {
	if err := c.begin(); err != nil {
		return ResidencyReport{}, err
	}
	defer c.end()
	detail := newError()
	r := C.ts_residency_report{struct_size: C.sizeof_ts_residency_report}
	err := toError(C.call_context_check_residency(c.library.api, c.ptr, &r, &detail), &detail)
	return ResidencyReport{Checked: int(r.blocks_checked), Outside: int(r.blocks_outside), FirstID: uint64(r.first_id),
		FirstLabel: C.GoString(&r.first_label[0])}, err
}

func (c *nativeContext) Close() error {
	err := c.close(func() error {
		detail := newError()
		if err := toError(C.call_context_destroy(c.library.api, c.ptr, &detail), &detail); err != nil {
			return err
		}
		c.library.mu.Lock()
		c.library.contexts--
		c.library.mu.Unlock()
		return nil
	})
	runtime.KeepAlive(c)
	return err
}
