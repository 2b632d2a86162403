// Package shadow steps a library under test and the reference library side by side through the same random requests. Every token,
// log-probability and logit must have the same bits, and every sampled token must be one that the documented rules allow, worked
// out in float64. What is asked depends on the run's seed, so that no library can have been made for it.
package shadow

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"touchstone/native"
	"touchstone/suites/expectation"
	"touchstone/suites/internal/sampling"
)

// Pair is a model in both libraries. One goroutine uses it.
type Pair struct {
	subject, reference native.Model
	context            native.Context // of the reference
	vocab              int
	steps              int
	sessions           []*Session
}

// Session is one sequence in both libraries.
type Session struct {
	subject, reference native.Session
	History            []int32
	Next               int32 // the token that the last step chose; -1 if none
}

// Load loads a model into a context of the library under test, and into the reference library. Close frees both.
func Load(subject native.Context, description native.ModelDescription) (*Pair, error) {
	context, err := expectation.OpenProcessor()
	if err != nil {
		return nil, err
	}
	p := &Pair{context: context, vocab: description.VocabSize}
	if p.reference, err = expectation.Load(context, description); err != nil {
		return nil, errors.Join(fmt.Errorf("the reference library: %w", err), context.Close())
	}
	if p.subject, err = expectation.Load(subject, description); err != nil {
		return nil, errors.Join(fmt.Errorf("the library under test: %w", err), p.reference.Close(), context.Close())
	}
	return p, nil
}

// Close frees sessions and models, and the reference's context.
func (p *Pair) Close() error {
	var err error
	for len(p.sessions) > 0 {
		err = errors.Join(err, p.End(p.sessions[0]))
	}
	return errors.Join(err, p.subject.Close(), p.reference.Close(), p.context.Close())
}

// Open starts a session in both.
func (p *Pair) Open() (*Session, error) {
	s := &Session{Next: -1}
	var err error
	if s.subject, err = p.subject.NewSession(native.SessionOptions{}); err != nil {
		return nil, err
	}
	if s.reference, err = p.reference.NewSession(native.SessionOptions{}); err != nil {
		return nil, errors.Join(err, s.subject.Close())
	}
	p.sessions = append(p.sessions, s)
	return s, nil
}

// End closes a session in both.
func (p *Pair) End(s *Session) error {
	p.sessions = slices.DeleteFunc(p.sessions, func(other *Session) bool { return other == s })
	return errors.Join(s.subject.Close(), s.reference.Close())
}

// Truncate forgets what follows the first positions.
func (p *Pair) Truncate(s *Session, length int) error {
	s.History, s.Next = s.History[:length:length], -1
	return errors.Join(s.subject.Truncate(length), s.reference.Truncate(length))
}

// Fork starts a session with the first positions of another.
func (p *Pair) Fork(s *Session, length int) (*Session, error) {
	fork := &Session{History: slices.Clone(s.History[:length]), Next: -1}
	var err error
	if fork.subject, err = s.subject.Fork(length); err != nil {
		return nil, err
	}
	if fork.reference, err = s.reference.Fork(length); err != nil {
		return nil, errors.Join(err, fork.subject.Close())
	}
	p.sessions = append(p.sessions, fork)
	return fork, nil
}

// Ask is one session's part of a step.
type Ask struct {
	Session  *Session
	Tokens   []int32
	Want     native.LogitsWanted
	Sampling *native.Sampling
}

// Step lets both libraries evaluate the same items and compares what they give. The error names the first divergence.
func (p *Pair) Step(asks []Ask) error {
	p.steps++
	got, want := make([]native.StepItem, len(asks)), make([]native.StepItem, len(asks))
	for i, ask := range asks {
		got[i] = native.StepItem{Session: ask.Session.subject, Tokens: ask.Tokens, Want: ask.Want, Sampling: ask.Sampling}
		want[i] = got[i]
		want[i].Session, want[i].Want = ask.Session.reference, max(ask.Want, native.LogitsLast)
	}
	if err := p.reference.Step(want); err != nil {
		return fmt.Errorf("the reference library: %w", err)
	}
	if err := p.subject.Step(got); err != nil {
		return fmt.Errorf("step %d of %d items fails: %w", p.steps, len(asks), err)
	}
	for i, ask := range asks {
		if want[i].Err != nil {
			return fmt.Errorf("the reference library: %w", want[i].Err)
		}
		s := ask.Session
		s.History = append(s.History, ask.Tokens...)
		if err := p.compare(ask, got[i], want[i]); err != nil {
			return fmt.Errorf("step %d, item %d of %d, after %d positions: %w", p.steps, i, len(asks), len(s.History), err)
		}
		s.Next = want[i].Token
	}
	return nil
}

func (p *Pair) compare(ask Ask, got, want native.StepItem) error {
	if got.Err != nil {
		return got.Err
	}
	if ask.Sampling != nil {
		if err := p.compareChoice(ask, got, want); err != nil {
			return fmt.Errorf("%w\nsampling %s", err, asJSON(ask.Sampling))
		}
	}
	if ask.Want != native.LogitsNone {
		for i, value := range want.Logits {
			if i >= len(got.Logits) || math.Float32bits(got.Logits[i]) != math.Float32bits(value) {
				return fmt.Errorf("logit %d of row %d of %d: expected %v (0x%08x), got %v", i%p.vocab, i/p.vocab, len(want.Logits)/p.vocab, value,
					math.Float32bits(value), at(got.Logits, i))
			}
		}
	}
	state, err := ask.Session.subject.State()
	if err == nil && state.Length != len(ask.Session.History) {
		err = fmt.Errorf("the session has %d positions, expected %d", state.Length, len(ask.Session.History))
	}
	return err
}

func (p *Pair) compareChoice(ask Ask, got, want native.StepItem) error {
	s := ask.Sampling
	settings := sampling.Settings{Temperature: float64(s.Temperature), TopP: float64(s.TopP), MinP: float64(s.MinP),
		Penalty: float64(s.RepetitionPenalty), TopK: s.TopK, Seed: s.Seed, Position: len(ask.Session.History)}
	last := want.Logits[len(want.Logits)-p.vocab:]
	allowed := sampling.Sample(settings, last, ask.Session.History).Tokens
	if !slices.Contains(allowed, want.Token) {
		return fmt.Errorf("the reference library chose token %d, the float64 reference allows %v", want.Token, allowed)
	}
	if got.Token != want.Token {
		return fmt.Errorf("token: expected %d, got %d", want.Token, got.Token)
	}
	if got.Logprob != want.Logprob {
		return fmt.Errorf("log-probability of token %d: expected %v, got %v", want.Token, want.Logprob, got.Logprob)
	}
	if !slices.Equal(got.Top, want.Top) {
		return fmt.Errorf("alternatives: expected %s, got %s", asJSON(want.Top), asJSON(got.Top))
	}
	return nil
}

func at(values []float32, i int) any {
	if i < len(values) {
		return fmt.Sprintf("%v (0x%08x)", values[i], math.Float32bits(values[i]))
	}
	return "nothing"
}

func asJSON(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%+v", value)
	}
	return string(text)
}
