package native

// #include "bridge.h"
import "C"

import (
	"math"
	"slices"
	"unsafe"
)

type model struct {
	handle
	context   *nativeContext
	ptr       *C.ts_model
	vocabSize int
	steps     stepMemory
}

// stepMemory is what one step needs in C memory, kept from step to step.
type stepMemory struct {
	memory cMemory
	items  []C.ts_step_item
	slots  []C.step_slot
	inUse  bool // guarded by the model's handle.mu
}

func (s *stepMemory) reserve(count int) {
	if count <= len(s.items) {
		return
	}
	s.memory.free()
	count = max(count, 2*len(s.items))
	s.items = unsafe.Slice((*C.ts_step_item)(s.memory.zeroed(uintptr(count)*C.sizeof_ts_step_item)), count)
	s.slots = unsafe.Slice((*C.step_slot)(s.memory.zeroed(uintptr(count)*C.sizeof_step_slot)), count)
}

func (m *model) Info() (ModelInfo, error) {
	if err := m.begin(); err != nil {
		return ModelInfo{}, err
	}
	defer m.end()
	detail := newError()
	i := C.ts_model_info{struct_size: C.sizeof_ts_model_info}
	if err := toError(C.call_model_info(m.context.library.api, m.ptr, &i, &detail), &detail); err != nil {
		return ModelInfo{}, err
	}
	return ModelInfo{MaxRows: int(i.max_rows), WeightsBytes: uint64(i.weights_bytes), KVBlockBytes: uint64(i.kv_block_bytes),
		KVBlocksTotal: int(i.kv_blocks_total), KVBlocksFree: int(i.kv_blocks_free)}, nil
}

// beginStep lets one step at a time use the step memory.
func (m *model) beginStep() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return ErrClosed
	}
	if m.steps.inUse {
		return &Error{Status: StatusBusy, Message: "another step is running on the model; wait for it"}
	}
	m.steps.inUse = true
	m.calls++
	return nil
}

func (m *model) endStep() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.steps.inUse = false
	m.calls--
}

func (m *model) Step(items []StepItem) error {
	if err := m.beginStep(); err != nil {
		return err
	}
	defer m.endStep()
	if len(items) == 0 {
		return invalid("a step needs at least one item")
	}
	used := 0
	defer func() {
		for i := range used {
			items[i].Session.(*session).end()
		}
		m.steps.memory.pinner.Unpin()
	}()
	m.steps.reserve(len(items))
	for i := range items {
		s, ok := items[i].Session.(*session)
		if !ok || s.model.context.library.api != m.context.library.api {
			return invalid("items[%d].Session is not a session of this library", i)
		}
		if err := s.begin(); err != nil {
			return err
		}
		used++
		if err := m.fillItem(i, &items[i], s); err != nil {
			return err
		}
	}
	detail := newError()
	err := toError(C.call_step(m.context.library.api, m.ptr, &m.steps.items[0], C.uint32_t(len(items)), &detail), &detail)
	for i := range items {
		if err != nil {
			items[i].Token, items[i].Logprob, items[i].Top, items[i].Err = -1, 0, nil, err
			continue
		}
		m.readItem(i, &items[i])
	}
	return err
}

// fillItem writes item i to C memory; the Go slices it points to stay pinned until the step ends.
func (m *model) fillItem(i int, item *StepItem, s *session) error {
	if len(item.Tokens) > math.MaxInt32 {
		return invalid("items[%d] has %d tokens", i, len(item.Tokens))
	}
	c, slot := &m.steps.items[i], &m.steps.slots[i]
	slot.error.struct_size = C.sizeof_ts_error
	*c = C.ts_step_item{struct_size: C.sizeof_ts_step_item, token_count: C.uint32_t(len(item.Tokens)), session: s.ptr, token: -1,
		error: &slot.error}
	c.tokens = (*C.int32_t)(pin(&m.steps.memory, item.Tokens))
	rows := 0
	switch item.Want {
	case LogitsNone:
	case LogitsLast:
		rows, c.flags = 1, C.TS_STEP_LOGITS_LAST
	case LogitsAll:
		rows, c.flags = len(item.Tokens), C.TS_STEP_LOGITS_ALL
	default:
		return invalid("items[%d].Want is %d", i, item.Want)
	}
	item.Logits = slices.Grow(item.Logits[:0], rows*m.vocabSize)[:rows*m.vocabSize]
	c.logits = (*C.float)(pin(&m.steps.memory, item.Logits))
	c.logits_capacity = C.uint64_t(len(item.Logits))
	if item.Sampling == nil {
		return nil
	}
	o := item.Sampling
	if o.TopK < 0 || o.TopK > math.MaxInt32 || o.TopLogprobs < 0 || o.TopLogprobs > len(slot.top_tokens) || o.PenaltyStart < 0 {
		return invalid("items[%d].Sampling: TopK is %d (0 or more), TopLogprobs %d (0 to %d)", i, o.TopK, o.TopLogprobs, len(slot.top_tokens))
	}
	slot.sampling = C.ts_sampling{struct_size: C.sizeof_ts_sampling, temperature: C.float(o.Temperature), top_k: C.uint32_t(o.TopK),
		top_p: C.float(o.TopP), min_p: C.float(o.MinP), repetition_penalty: C.float(o.RepetitionPenalty), seed: C.uint64_t(o.Seed),
		top_logprobs: C.uint32_t(o.TopLogprobs), frequency_penalty: C.float(o.FrequencyPenalty), presence_penalty: C.float(o.PresencePenalty),
		penalty_start: C.uint32_t(o.PenaltyStart), bias_count: C.uint32_t(len(o.Biases))}
	if len(o.Biases) == 0 && o.FrequencyPenalty == 0 && o.PresencePenalty == 0 {
		slot.sampling.struct_size = C.uint32_t(unsafe.Offsetof(slot.sampling.frequency_penalty)) // what libraries of 1.1 know
	}
	if len(o.Biases) > 0 {
		tokens, values := make([]int32, len(o.Biases)), make([]float32, len(o.Biases))
		for k, bias := range o.Biases {
			tokens[k], values[k] = bias.Token, bias.Value
		}
		slot.sampling.bias_tokens = (*C.int32_t)(pin(&m.steps.memory, tokens))
		slot.sampling.bias_values = (*C.float)(pin(&m.steps.memory, values))
	}
	c.sampling = &slot.sampling
	if o.TopLogprobs > 0 {
		c.top_tokens, c.top_logprobs = &slot.top_tokens[0], &slot.top_logprobs[0]
	}
	return nil
}

// readItem takes over what the step wrote.
func (m *model) readItem(i int, item *StepItem) {
	c, slot := &m.steps.items[i], &m.steps.slots[i]
	item.Err = toError(C.ts_status(c.status), &slot.error)
	item.Token, item.Logprob = int32(c.token), float32(c.logprob)
	item.Top = item.Top[:0]
	if item.Err != nil || item.Sampling == nil {
		return
	}
	for k := range item.Sampling.TopLogprobs {
		if slot.top_tokens[k] >= 0 { // a vocabulary may be smaller than what was asked for
			item.Top = append(item.Top, TokenLogprob{Token: int32(slot.top_tokens[k]), Logprob: float32(slot.top_logprobs[k])})
		}
	}
}

func (m *model) NewSession(options SessionOptions) (Session, error) {
	if options.MaxLength < 0 || int64(options.MaxLength) > math.MaxUint32 {
		return nil, invalid("MaxLength is %d; it must be 0 to %d", options.MaxLength, uint32(math.MaxUint32))
	}
	if err := m.begin(); err != nil {
		return nil, err
	}
	defer m.end()
	detail := newError()
	o := C.ts_session_options{struct_size: C.sizeof_ts_session_options, max_length: C.uint32_t(options.MaxLength)}
	var ptr *C.ts_session
	if err := toError(C.call_session_create(m.context.library.api, m.ptr, &o, &ptr, &detail), &detail); err != nil {
		return nil, err
	}
	return newSession(m, ptr), nil
}

func (m *model) Close() error {
	return m.close(func() error {
		detail := newError()
		if err := toError(C.call_model_destroy(m.context.library.api, m.ptr, &detail), &detail); err != nil {
			return err
		}
		m.steps.memory.free()
		m.steps.items, m.steps.slots = nil, nil
		return nil
	})
}
