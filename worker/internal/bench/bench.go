// Package bench measures how fast a loaded model evaluates prompts and decodes tokens, at the native interface: no HTTP, no
// tokenizer.
package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"touchstone/native"
)

// Plan says what is measured.
type Plan struct {
	Prefill      []int // lengths of prompts, each from an empty cache
	Decode       []int // positions from which DecodeTokens tokens are generated greedily, one by one
	DecodeTokens int
	Repeats      int // measurements of each prompt, of which the median counts
}

// Positions is how much of the KV cache the plan fills.
func (p Plan) Positions() int {
	longest := 0
	if len(p.Prefill) > 0 {
		longest = slices.Max(p.Prefill)
	}
	if len(p.Decode) > 0 {
		longest = max(longest, slices.Max(p.Decode)+1+p.DecodeTokens)
	}
	return longest
}

// Prefill is the time of a whole prompt; the logits of its last token are computed.
type Prefill struct {
	Tokens  int     `json:"tokens"`
	Seconds float64 `json:"seconds"` // median
	Fastest float64 `json:"fastest_seconds"`
	Slowest float64 `json:"slowest_seconds"`
}

// Rate is tokens a second at the median.
func (p Prefill) Rate() float64 { return float64(p.Tokens) / p.Seconds }

// Decode is the time of one generated token from a position on.
type Decode struct {
	Position int     `json:"position"`
	Seconds  float64 `json:"seconds"` // median
	Fastest  float64 `json:"fastest_seconds"`
	Slowest  float64 `json:"slowest_seconds"`
}

// Rate is tokens a second at the median.
func (d Decode) Rate() float64 { return 1 / d.Seconds }

// Run measures the plan until ctx ends. progress hears what is measured next.
func Run(ctx context.Context, model native.Model, vocab, maxRows int, plan Plan, progress func(what string)) ([]Prefill, []Decode, error) {
	r := &runner{ctx: ctx, model: model, vocab: vocab, maxRows: maxRows, session: native.SessionOptions{MaxLength: plan.Positions()}}
	prefills, err := r.prefills(plan, progress)
	if err != nil {
		return nil, nil, err
	}
	decodes, err := r.decodes(plan, progress)
	return prefills, decodes, err
}

type runner struct {
	ctx            context.Context
	model          native.Model
	vocab, maxRows int
	session        native.SessionOptions
}

func (r *runner) prefills(plan Plan, progress func(string)) ([]Prefill, error) {
	var measured []Prefill
	for _, length := range plan.Prefill {
		progress(fmt.Sprintf("prefill of %d tokens", length))
		seconds := make([]float64, plan.Repeats)
		for i := range seconds {
			var err error
			if seconds[i], err = r.prompt(length); err != nil {
				return nil, fmt.Errorf("prefill of %d tokens: %w", length, err)
			}
		}
		slices.Sort(seconds)
		measured = append(measured, Prefill{Tokens: length, Seconds: seconds[len(seconds)/2], Fastest: seconds[0], Slowest: seconds[len(seconds)-1]})
	}
	return measured, nil
}

// prompt evaluates a prompt in a session of its own and returns the seconds it took.
func (r *runner) prompt(length int) (seconds float64, err error) {
	session, err := r.model.NewSession(r.session)
	if err != nil {
		return 0, err
	}
	defer func() {
		if closed := session.Close(); err == nil {
			err = closed
		}
	}()
	begin := time.Now()
	_, err = r.extend(session, 0, length)
	return time.Since(begin).Seconds(), err
}

func (r *runner) decodes(plan Plan, progress func(string)) (measured []Decode, err error) {
	if len(plan.Decode) == 0 {
		return nil, nil
	}
	session, err := r.model.NewSession(r.session)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closed := session.Close(); err == nil {
			err = closed
		}
	}()
	length := 0
	for _, position := range slices.Sorted(slices.Values(plan.Decode)) {
		progress(fmt.Sprintf("decode from position %d", position))
		if length > position {
			if err := session.Truncate(position); err != nil {
				return nil, err
			}
			length = position
		}
		token, err := r.extend(session, length, position+1)
		if err != nil {
			return nil, fmt.Errorf("decode from position %d: %w", position, err)
		}
		seconds := make([]float64, plan.DecodeTokens)
		for i := range seconds {
			begin := time.Now()
			if token, err = r.step(session, []int32{token}); err != nil {
				return nil, fmt.Errorf("decode from position %d: %w", position, err)
			}
			seconds[i] = time.Since(begin).Seconds()
		}
		length = position + 1 + plan.DecodeTokens
		slices.Sort(seconds)
		measured = append(measured, Decode{Position: position, Seconds: seconds[len(seconds)/2], Fastest: seconds[0], Slowest: seconds[len(seconds)-1]})
	}
	return measured, nil
}

// extend evaluates made-up tokens at positions from ... to-1, as many a step as the model takes, and returns the greedy choice
// after the last.
func (r *runner) extend(session native.Session, from, to int) (int32, error) {
	token := int32(0)
	for from < to {
		tokens := make([]int32, min(r.maxRows, to-from))
		for i := range tokens {
			tokens[i] = int32((uint64(from+i)*2654435761 + 12345) % uint64(r.vocab)) // spread over the vocabulary
		}
		var err error
		if token, err = r.step(session, tokens); err != nil {
			return 0, err
		}
		from += len(tokens)
	}
	return token, nil
}

func (r *runner) step(session native.Session, tokens []int32) (int32, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, fmt.Errorf("interrupted: %w", err)
	}
	items := []native.StepItem{{Session: session, Tokens: tokens, Sampling: &native.Sampling{TopP: 1, RepetitionPenalty: 1}}}
	if err := r.model.Step(items); err != nil {
		return 0, err
	}
	return items[0].Token, items[0].Err
}
