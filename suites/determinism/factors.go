package determinism

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"touchstone/native"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
)

// setting is one way to compute the logits of a sequence. None of it may change a bit.
type setting struct {
	backend library.Backend
	threads int
	company int    // other sessions in every step
	chunk   int    // most tokens of a step
	decode  bool   // the last tokens of the sequence are evaluated one by one
	cache   string // one of caches
}

// caches are the states of the KV cache: a session of its own; one that evaluated other tokens after the first forkAt, and was
// truncated; a fork of such a session, with which it shares a block.
var caches = []string{"cold", "truncated and redone", "forked"}

// decodedTokens is how many tokens are evaluated one by one in a setting that decodes.
const decodedTokens = 16

// forkAt lies inside the second KV block of 32.
const forkAt = 45

func (s setting) String() string {
	phase := "prefill"
	if s.decode {
		phase = "prefill and decode"
	}
	return fmt.Sprintf("%s, %d threads, company of %d, chunks of %d, %s, cache %s", s.backend.Name, s.threads, s.company, s.chunk, phase, s.cache)
}

// sizes are the lengths of the pieces in which the setting evaluates positions start ... end-1 of a sequence of length.
func (s setting) sizes(start, end, length int) []int {
	var sizes []int
	for at := start; at < end; at += sizes[len(sizes)-1] {
		size := min(s.chunk, end-at)
		switch decoded := max(length-decodedTokens, length/2); {
		case s.decode && at >= decoded:
			size = 1
		case s.decode:
			size = min(size, decoded-at)
		}
		sizes = append(sizes, size)
	}
	return sizes
}

// bench holds models loaded for settings, by backend and threads.
type bench struct {
	description native.ModelDescription
	models      map[string]*loaded
}

type loaded struct {
	native.Model
	context native.Context
}

func (b *bench) close() error {
	var problems []error
	for _, l := range b.models {
		problems = append(problems, l.Close(), l.context.Close())
	}
	return errors.Join(problems...)
}

func (b *bench) model(s setting) (native.Model, error) {
	key := fmt.Sprintf("%s with %d threads", s.backend.Name, s.threads)
	if l, found := b.models[key]; found {
		return l, nil
	}
	context, err := s.backend.Open(native.ContextOptions{Threads: s.threads})
	if err != nil {
		return nil, err
	}
	model, err := tiny.TryLoad(context, b.description)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", key, err), context.Close())
	}
	b.models[key] = &loaded{model, context}
	return model, nil
}

// logits evaluates tokens as the setting says and gives the logits of every position, [len(tokens)][vocab] flat. Other tokens fill
// the company and the histories.
func (b *bench) logits(s setting, tokens, others []int32) (all []float32, err error) {
	model, err := b.model(s)
	if err != nil {
		return nil, err
	}
	r := &sequenceRun{setting: s, model: model, length: len(tokens), others: others}
	defer func() { err = errors.Join(err, r.close()) }()
	session, err := r.open()
	if err != nil {
		return nil, err
	}
	for range s.company {
		if _, err := r.open(); err != nil {
			return nil, err
		}
	}
	start := 0
	if s.cache != caches[0] {
		start = min(forkAt, len(tokens))
		if all, err = r.evaluate(session, tokens[:start], 0); err != nil {
			return nil, err
		}
		if _, err = r.evaluate(session, others[:start], start); err != nil {
			return nil, err
		}
		if s.cache == "forked" {
			if session, err = session.Fork(start); err != nil {
				return nil, err
			}
			r.sessions = append(r.sessions, session)
		} else if err = session.Truncate(start); err != nil {
			return nil, err
		}
	}
	rest, err := r.evaluate(session, tokens[start:], start)
	return append(all, rest...), err
}

// sequenceRun is the evaluation of one sequence among its company.
type sequenceRun struct {
	setting
	model    native.Model
	length   int
	others   []int32
	sessions []native.Session // all to be closed; those of the company are 1 ... company
	steps    int
}

func (r *sequenceRun) open() (native.Session, error) {
	session, err := r.model.NewSession(native.SessionOptions{})
	if err == nil {
		r.sessions = append(r.sessions, session)
	}
	return session, err
}

func (r *sequenceRun) close() error {
	var problems []error
	for _, session := range r.sessions {
		problems = append(problems, session.Close())
	}
	return errors.Join(problems...)
}

// evaluate steps the session through tokens, which begin at a position, while each of the company evaluates one or two a step.
func (r *sequenceRun) evaluate(session native.Session, tokens []int32, position int) ([]float32, error) {
	var all []float32
	for _, size := range r.sizes(position, position+len(tokens), r.length) {
		items := []native.StepItem{{Session: session, Tokens: tokens[:size], Want: native.LogitsAll}}
		tokens = tokens[size:]
		for i, other := range r.sessions[1 : 1+r.company] {
			items = append(items, native.StepItem{Session: other, Tokens: r.others[:1+(r.steps+i)%2]})
		}
		if r.steps++; r.steps%256 == 0 { // before the company's context is full
			for _, other := range r.sessions[1 : 1+r.company] {
				if err := other.Truncate(0); err != nil {
					return nil, err
				}
			}
		}
		if err := r.model.Step(items); err != nil {
			return nil, err
		}
		for _, item := range items {
			if item.Err != nil {
				return nil, item.Err
			}
		}
		all = append(all, slices.Clone(items[0].Logits)...)
	}
	return all, nil
}

// sameBits tells whether logits equal the beginning of a reference in every bit.
func sameBits(logits, reference []float32) bool {
	return len(logits) <= len(reference) && slices.EqualFunc(logits, reference[:len(logits)], func(a, b float32) bool {
		return math.Float32bits(a) == math.Float32bits(b)
	})
}
