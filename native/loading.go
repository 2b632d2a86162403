package native

// #include "bridge.h"
import "C"

import (
	"math"
	"unsafe"
)

type loading struct {
	handle
	context   *nativeContext
	ptr       *C.ts_model
	memory    *cMemory // the description and its pinned tensors
	vocabSize int
}

// field is a number of a description that must fit in 32 bits.
type field struct {
	name  string
	value int
	to    *C.uint32_t
}

func (c *nativeContext) BeginModel(description ModelDescription) (Loading, error) {
	memory := &cMemory{}
	desc, err := describe(memory, &description)
	if err != nil {
		memory.free()
		return nil, err
	}
	if err := c.begin(); err != nil {
		memory.free()
		return nil, err
	}
	defer c.end()
	detail := newError()
	var ptr *C.ts_model
	if err := toError(C.call_model_begin(c.library.api, c.ptr, desc, &ptr, &detail), &detail); err != nil {
		memory.free()
		return nil, err
	}
	l := &loading{context: c, ptr: ptr, memory: memory, vocabSize: description.VocabSize}
	watch(l, &l.handle, "loading")
	return l, nil
}

// describe writes a description to C memory.
func describe(memory *cMemory, d *ModelDescription) (*C.ts_model_desc, error) {
	desc := (*C.ts_model_desc)(memory.zeroed(C.sizeof_ts_model_desc))
	desc.struct_size = C.sizeof_ts_model_desc
	for _, f := range []field{
		{"VocabSize", d.VocabSize, &desc.vocab_size}, {"ContextLength", d.ContextLength, &desc.context_length},
		{"BlockCount", d.BlockCount, &desc.block_count}, {"EmbeddingLength", d.EmbeddingLength, &desc.embedding_length},
		{"FeedForwardLength", d.FeedForwardLength, &desc.feed_forward_length}, {"HeadCount", d.HeadCount, &desc.head_count},
		{"HeadCountKV", d.HeadCountKV, &desc.head_count_kv}, {"HeadDim", d.HeadDim, &desc.head_dim},
		{"RopeDims", d.RopeDims, &desc.rope_dims}, {"MaxRows", d.MaxRows, &desc.max_rows},
	} {
		if f.value < 0 || int64(f.value) > math.MaxUint32 {
			return nil, invalid("%s is %d; it must be 0 to %d", f.name, f.value, uint32(math.MaxUint32))
		}
		*f.to = C.uint32_t(f.value)
	}
	if want := uint64(d.ContextLength) * uint64(d.RopeDims/2); uint64(len(d.RopeCos)) != want || uint64(len(d.RopeSin)) != want {
		return nil, invalid("RopeCos and RopeSin have %d and %d elements; ContextLength and RopeDims ask for %d", len(d.RopeCos),
			len(d.RopeSin), want)
	}
	desc.norm, desc.position, desc.activation = C.int32_t(d.Norm), C.int32_t(d.Position), C.int32_t(d.Activation)
	desc.norm_epsilon, desc.attention_scale = C.float(d.NormEpsilon), C.float(d.AttentionScale)
	desc.kv_cache_bytes = C.uint64_t(d.KVCacheBytes)
	desc.rope_cos = (*C.float)(unsafe.Pointer(pin(memory, d.RopeCos)))
	desc.rope_sin = (*C.float)(unsafe.Pointer(pin(memory, d.RopeSin)))
	tensors, err := memory.tensors(d.Tensors)
	if err != nil {
		return nil, err
	}
	desc.tensors, desc.tensor_count = tensors, C.uint32_t(len(d.Tensors))
	return desc, nil
}

func (l *loading) Step(budget uint64) (done, total uint64, err error) {
	if err := l.begin(); err != nil {
		return 0, 0, err
	}
	defer l.end()
	detail := newError()
	var cDone, cTotal C.uint64_t
	err = toError(C.call_model_load_step(l.context.library.api, l.ptr, C.uint64_t(budget), &cDone, &cTotal, &detail), &detail)
	return uint64(cDone), uint64(cTotal), err
}

func (l *loading) Finish() (Model, error) {
	if err := l.begin(); err != nil {
		return nil, err
	}
	detail := newError()
	err := toError(C.call_model_finish(l.context.library.api, l.ptr, &detail), &detail)
	l.end()
	if err != nil {
		return nil, err
	}
	m := &model{context: l.context, ptr: l.ptr, vocabSize: l.vocabSize}
	watch(m, &m.handle, "model")
	return m, l.close(func() error {
		l.memory.free()
		return nil
	})
}

func (l *loading) Close() error {
	return l.close(func() error {
		detail := newError()
		if err := toError(C.call_model_destroy(l.context.library.api, l.ptr, &detail), &detail); err != nil {
			return err
		}
		l.memory.free()
		return nil
	})
}
