// Package fake is a native library and a tokenizer for the worker's own tests. The model needs no weights: a prompt
// "...|text" makes it produce that text and the end-of-text token, any other prompt the alphabet over and over.
package fake

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"touchstone/native"
)

// Sizes of the fake model.
const (
	BeginOfText   = 256
	EndOfText     = 257
	VocabSize     = 258
	MaxRows       = 64
	KVBlockBytes  = 1000
	WeightsBytes  = 5000
	ContextLength = 256
	blockLength   = 32
)

// Device is a fake context with its model.
type Device struct {
	native.Context // methods that the worker does not use
	native.Model

	// Permits, if not nil, lets one step run for every value received. A cancelled session lets its step run too.
	Permits chan struct{}
	// Fail, if not nil, gives the error of an item before it is evaluated.
	Fail func(item *native.StepItem) error
	// FailStep, if not nil, gives the error of a whole step.
	FailStep func() error
	// Stepped, if not nil, sees the items of every step before it runs.
	Stepped func(items []native.StepItem)

	busy       atomic.Bool
	mu         sync.Mutex
	blocks     int
	usedBlocks int
	sessions   int
	forked     []int
	residency  error
}

// NewDevice makes a device whose KV pool has so many blocks.
func NewDevice(blocks int) *Device { return &Device{blocks: blocks} }

// SetResidency makes residency checks fail with err, or succeed if it is nil.
func (d *Device) SetResidency(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.residency = err
}

// OpenSessions counts the sessions that were not closed.
func (d *Device) OpenSessions() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions
}

// Forked lists the lengths at which sessions were forked.
func (d *Device) Forked() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.forked)
}

// Close does nothing.
func (d *Device) Close() error { return nil }

// Memory gives a ledger of weights and the KV pool.
func (d *Device) Memory() (native.MemoryStats, error) {
	return native.MemoryStats{Blocks: 2, Weights: WeightsBytes, KV: uint64(d.blocks) * KVBlockBytes}, nil
}

// CheckResidency answers as SetResidency said.
func (d *Device) CheckResidency() (native.ResidencyReport, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.residency != nil {
		return native.ResidencyReport{Checked: 2, Outside: 1, FirstID: 7, FirstLabel: "blk.0.attn_q.weight"}, d.residency
	}
	return native.ResidencyReport{Checked: 2}, nil
}

// Info describes the model.
func (d *Device) Info() (native.ModelInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return native.ModelInfo{
		MaxRows: MaxRows, WeightsBytes: WeightsBytes, KVBlockBytes: KVBlockBytes,
		KVBlocksTotal: d.blocks, KVBlocksFree: d.blocks - d.usedBlocks,
	}, nil
}

// NewSession starts a sequence.
func (d *Device) NewSession(options native.SessionOptions) (native.Session, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions++
	maxLength := options.MaxLength
	if maxLength == 0 {
		maxLength = ContextLength
	}
	return &session{device: d, maxLength: maxLength, cancelled: make(chan struct{})}, nil
}

// RunOp knows the operation score alone: every token is as likely as its distance from the first logit of its row tells.
func (d *Device) RunOp(op native.Op) error {
	if op.Name != "score" {
		return &native.Error{Status: native.StatusUnsupported, Message: "no such operation"}
	}
	top := int(op.Outputs[1].Shape[0])
	for row := range int(op.Inputs[1].Shape[0]) {
		token := binary.LittleEndian.Uint32(op.Inputs[1].Data[4*row:])
		put := func(output, i int, value uint32) { binary.LittleEndian.PutUint32(op.Outputs[output].Data[4*i:], value) }
		put(0, row, math.Float32bits(-float32(token)))
		for k := range top {
			put(1, row*top+k, token+uint32(k))
			put(2, row*top+k, math.Float32bits(-float32(token)-float32(k)))
		}
	}
	return nil
}

// Step evaluates items; two steps at once are refused, as the ABI says.
func (d *Device) Step(items []native.StepItem) error {
	if !d.busy.CompareAndSwap(false, true) {
		return &native.Error{Status: native.StatusBusy, Message: "another call is running"}
	}
	defer d.busy.Store(false)
	if d.Stepped != nil {
		d.Stepped(items)
	}
	if d.Permits != nil {
		d.awaitPermit(items)
	}
	if d.FailStep != nil {
		if err := d.FailStep(); err != nil {
			return err
		}
	}
	rows := 0
	for i := range items {
		rows += len(items[i].Tokens)
	}
	if rows > MaxRows || len(items) == 0 {
		return &native.Error{Status: native.StatusInvalidArgument, Message: fmt.Sprintf("%d tokens in one step", rows)}
	}
	for i := range items {
		items[i].Err = items[i].Session.(*session).evaluate(&items[i])
	}
	return nil
}

// awaitPermit waits for a permit or until a session of the step is cancelled.
func (d *Device) awaitPermit(items []native.StepItem) {
	decided := make(chan struct{})
	woken := make(chan struct{}, len(items))
	var watchers sync.WaitGroup
	for i := range items {
		watchers.Go(func() {
			select {
			case <-items[i].Session.(*session).cancelled:
				woken <- struct{}{}
			case <-decided:
			}
		})
	}
	select {
	case <-d.Permits:
	case <-woken:
	}
	close(decided)
	watchers.Wait()
}

type session struct {
	native.Session
	device    *Device
	maxLength int
	history   []int32
	chosen    int
	blocks    int // of its own: what it shares with the session it was forked from counts there
	shared    int
	closed    bool
	once      sync.Once
	cancelled chan struct{}
}

// Cancel makes the running step and all later ones fail.
func (s *session) Cancel() error {
	s.once.Do(func() { close(s.cancelled) })
	return nil
}

// Fork starts a sequence with the first tokens of this one.
func (s *session) Fork(length int) (native.Session, error) {
	if length > len(s.history) || length%blockLength != 0 {
		return nil, &native.Error{Status: native.StatusInvalidArgument, Message: fmt.Sprintf("fork at %d of %d", length, len(s.history))}
	}
	s.device.mu.Lock()
	defer s.device.mu.Unlock()
	s.device.sessions++
	s.device.forked = append(s.device.forked, length)
	return &session{
		device: s.device, maxLength: s.maxLength, cancelled: make(chan struct{}),
		history: slices.Clone(s.history[:length]), shared: length / blockLength,
	}, nil
}

// Close releases the session's blocks.
func (s *session) Close() error {
	s.device.mu.Lock()
	defer s.device.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.device.sessions--
		s.device.usedBlocks -= s.blocks
	}
	return nil
}

func (s *session) evaluate(item *native.StepItem) error {
	select {
	case <-s.cancelled:
		return &native.Error{Status: native.StatusCancelled, Message: "the session is cancelled"}
	default:
	}
	if s.device.Fail != nil {
		if err := s.device.Fail(item); err != nil {
			return err
		}
	}
	if len(s.history)+len(item.Tokens) > s.maxLength {
		return &native.Error{Status: native.StatusContextLengthExceeded, Message: "the session is full"}
	}
	if err := s.hold((len(s.history)+len(item.Tokens)+blockLength-1)/blockLength - s.shared); err != nil {
		return err
	}
	s.history = append(s.history, item.Tokens...)
	item.Token = -1
	if item.Want == native.LogitsAll {
		item.Logits = make([]float32, len(item.Tokens)*VocabSize)
	}
	if item.Sampling == nil {
		return nil
	}
	item.Token = s.choose()
	for _, bias := range item.Sampling.Biases {
		if bias.Token == item.Token && bias.Value == native.Forbidden {
			item.Token = '~'
		}
	}
	item.Logprob = -0.5
	item.Top = nil
	for i := range item.Sampling.TopLogprobs {
		item.Top = append(item.Top, native.TokenLogprob{Token: item.Token + int32(i), Logprob: -0.5 - float32(i)})
	}
	if item.Want == native.LogitsLast {
		item.Logits = append(item.Logits[:0], float32(item.Token), float32(len(s.history)))
	}
	return nil
}

func (s *session) hold(blocks int) error {
	s.device.mu.Lock()
	defer s.device.mu.Unlock()
	if s.device.usedBlocks+blocks-s.blocks > s.device.blocks {
		return &native.Error{Status: native.StatusOutOfMemory, Message: "no KV block is free"}
	}
	s.device.usedBlocks += blocks - s.blocks
	s.blocks = blocks
	return nil
}

// choose gives the next token of the text that the prompt asked for.
func (s *session) choose() int32 {
	prompt := make([]byte, 0, len(s.history))
	for _, id := range s.history[:len(s.history)-s.chosen] {
		if id < BeginOfText {
			prompt = append(prompt, byte(id))
		}
	}
	n := s.chosen
	s.chosen++
	_, script, scripted := bytes.Cut(prompt, []byte("|"))
	if !scripted {
		return int32('a' + n%26)
	}
	if n >= len(script) {
		return EndOfText
	}
	return int32(script[n])
}

// TokensOf gives a copy of the tokens of every item of a step.
func TokensOf(items []native.StepItem) [][]int32 {
	tokens := make([][]int32, len(items))
	for i := range items {
		tokens[i] = slices.Clone(items[i].Tokens)
	}
	return tokens
}
