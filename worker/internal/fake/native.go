// Package fake is a native library and a tokenizer for the worker's own tests. The model needs no weights: a prompt
// "...|text" makes it produce that text and the end-of-text token, any other prompt the alphabet over and over.
package fake

import (
	"bytes"
	"fmt"
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
	return &session{device: d, maxLength: options.MaxLength, cancelled: make(chan struct{})}, nil
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
	blocks    int
	closed    bool
	once      sync.Once
	cancelled chan struct{}
}

// Cancel makes the running step and all later ones fail.
func (s *session) Cancel() error {
	s.once.Do(func() { close(s.cancelled) })
	return nil
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
	s.history = append(s.history, item.Tokens...)
	s.hold((len(s.history) + blockLength - 1) / blockLength)
	item.Token = -1
	if item.Sampling == nil {
		return nil
	}
	item.Token = s.choose()
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

func (s *session) hold(blocks int) {
	s.device.mu.Lock()
	defer s.device.mu.Unlock()
	s.device.usedBlocks += blocks - s.blocks
	s.blocks = blocks
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
