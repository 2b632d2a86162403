package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"touchstone/reports/soak"
	"touchstone/suites/api"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// door is how requests are put to the worker, with what it offers beyond its text.
type door struct {
	api              api.API
	logits, logprobs bool
}

// newDoor asks a plain request with all that there is to ask for, and less where that is refused.
func newDoor(ctx context.Context, t *target.Target) (door, error) {
	over := t.API(t.Profile.API)
	probe := soak.Request{Prompt: "Hello", MaxTokens: 2, TopP: 1, RepetitionPenalty: 1, Seed: 1}
	var refusal error
	for _, offer := range []door{{logits: true, logprobs: true}, {logprobs: true}, {logits: true}, {}} {
		offer.api = over
		outcome, _, err := offer.ask(ctx, t.Client(), probe, nil)
		if err == nil && offer.logprobs && len(outcome.Logprobs) == 0 {
			offer.logprobs = false // some servers have a shape of their own, which is not compared
		}
		if err == nil {
			return offer, nil
		}
		refusal = err
	}
	return door{}, fmt.Errorf("the worker does not answer a plain request: %w", refusal)
}

// ask sends a request and reads its answer. began, if set, is called when the answer begins.
func (d door) ask(ctx context.Context, client *wire.Client, request soak.Request, began func()) (outcome soak.Outcome, firstToken time.Duration, err error) {
	asked := api.Request{
		Prompt: request.Prompt, MaxTokens: request.MaxTokens, Temperature: request.Temperature, TopK: request.TopK, TopP: request.TopP,
		MinP: request.MinP, RepetitionPenalty: request.RepetitionPenalty, Seed: request.Seed, LogitsHash: d.logits,
	}
	if d.logprobs {
		asked.Logprobs = 1
	}
	stream, err := d.api.Open(ctx, client, asked, nil)
	if err != nil {
		return outcome, 0, err
	}
	defer stream.Close()
	for {
		_, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return outcome, 0, fmt.Errorf("the stream breaks off: %w", err)
		}
		if began != nil {
			began()
		}
	}
	answer, err := stream.Answer()
	if err != nil {
		return outcome, 0, err
	}
	if d.logits && answer.LogitsSHA256 == "" {
		return outcome, 0, errors.New("a digest of the logits was asked for and not given")
	}
	outcome = soak.Outcome{
		Tokens: answer.Tokens, Logprobs: answer.Logprobs, LogitsSHA256: answer.LogitsSHA256, StopReason: answer.FinishWord, Pieces: answer.Pieces,
	}
	if outcome.Pieces == nil {
		outcome.Pieces = []string{}
	}
	return outcome, stream.FirstText(), nil
}
