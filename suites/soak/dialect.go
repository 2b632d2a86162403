package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"touchstone/suites/target"
)

// dialect is how a request is put to a worker and its answer read. began, if set, is called when the answer begins.
type dialect interface {
	ask(ctx context.Context, client *target.Client, request Request, began func()) (outcome Outcome, firstToken time.Duration, err error)
}

func newDialect(ctx context.Context, t *target.Target) (dialect, error) {
	if t.Config.Dialect == target.DialectOpenAI {
		return newOpenAI(ctx, t.Client())
	}
	probe := Greedy("Hello", 2)
	var refusal error
	for _, offer := range []touchstone{{true, true}, {false, true}, {true, false}, {}} {
		_, _, err := offer.ask(ctx, t.Client(), probe, nil)
		if err == nil {
			return offer, nil
		}
		refusal = err
	}
	return nil, fmt.Errorf("the worker does not answer a plain request: %w", refusal)
}

// touchstone is POST /execute, with what the worker offers beyond tokens.
type touchstone struct{ logits, logprobs bool }

func (d touchstone) ask(ctx context.Context, client *target.Client, request Request, began func()) (outcome Outcome, firstToken time.Duration, err error) {
	fields := target.Fields{
		"job_id": target.NewJobID(), "prompt": request.Prompt, "max_tokens": request.MaxTokens, "temperature": request.Temperature,
		"top_k": request.TopK, "top_p": request.TopP, "min_p": request.MinP, "repetition_penalty": request.RepetitionPenalty, "seed": request.Seed,
	}
	if d.logits {
		fields["logits_hash"] = true
	}
	if d.logprobs {
		fields["logprobs"] = 1
	}
	stream, err := client.Open(ctx, target.Post("/execute", fields))
	if err != nil {
		return outcome, 0, err
	}
	defer stream.Close()
	for {
		event, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return outcome, 0, fmt.Errorf("the stream breaks off: %w", err)
		}
		if began != nil {
			began()
		}
		if event.Type == "token" && firstToken == 0 {
			firstToken = event.At
		}
	}
	generation, err := stream.Generation()
	switch {
	case err != nil:
		return outcome, 0, err
	case generation.Failure != nil:
		return outcome, 0, fmt.Errorf("the stream ended with %s: %s", generation.Failure.Code, generation.Failure.Message)
	case generation.End == nil:
		return outcome, 0, errors.New("the stream has no end event")
	case d.logits && generation.End.LogitsSHA256 == "":
		return outcome, 0, errors.New("logits_hash was asked for, but the end event has no logits_sha256")
	}
	outcome = Outcome{Tokens: generation.IDs(), LogitsSHA256: generation.End.LogitsSHA256, StopReason: generation.End.StopReason, Pieces: []string{}}
	for _, token := range generation.Tokens {
		piece := ""
		if token.T != nil {
			piece = *token.T
		}
		outcome.Pieces = append(outcome.Pieces, piece)
		if d.logprobs && token.Logprob != nil {
			outcome.Logprobs = append(outcome.Logprobs, *token.Logprob)
		}
	}
	return outcome, firstToken, nil
}

// openAI is POST /v1/completions, as llama-server, vLLM and others offer it.
type openAI struct {
	model    string
	logprobs bool // in the shape of the API: some servers have one of their own, which is not compared
}

func newOpenAI(ctx context.Context, client *target.Client) (dialect, error) {
	models, err := client.Models(ctx)
	if err != nil {
		return nil, err
	}
	d := openAI{model: models[0], logprobs: true}
	outcome, _, err := d.ask(ctx, client, Greedy("Hello", 2), nil)
	d.logprobs = err == nil && len(outcome.Logprobs) > 0
	return d, nil
}

func (d openAI) ask(ctx context.Context, client *target.Client, request Request, began func()) (outcome Outcome, firstToken time.Duration, err error) {
	// Only what every such server knows: top-k, min-p and the repetition penalty are extensions.
	fields := target.Fields{
		"model": d.model, "prompt": request.Prompt, "max_tokens": request.MaxTokens, "temperature": request.Temperature,
		"top_p": request.TopP, "seed": request.Seed % (1 << 31),
	}
	if d.logprobs {
		fields["logprobs"] = 1
	}
	response, err := client.Do(ctx, target.Post("/v1/completions", fields))
	if err != nil {
		return outcome, 0, err
	}
	if began != nil {
		began()
	}
	if response.Status != http.StatusOK {
		return outcome, 0, fmt.Errorf("POST /v1/completions: %d %.300s", response.Status, response.Body)
	}
	var answer struct {
		Choices []struct {
			Text         string `json:"text"`
			FinishReason string `json:"finish_reason"`
			Logprobs     *struct {
				Tokens        []string   `json:"tokens"`
				TokenLogprobs []*float64 `json:"token_logprobs"`
			} `json:"logprobs"`
		} `json:"choices"`
	}
	if err := response.JSON(&answer); err != nil {
		return outcome, 0, err
	}
	if len(answer.Choices) == 0 {
		return outcome, 0, errors.New("POST /v1/completions: the answer has no choice")
	}
	choice := answer.Choices[0]
	outcome = Outcome{StopReason: choice.FinishReason, Pieces: []string{choice.Text}}
	if choice.Logprobs != nil && len(choice.Logprobs.Tokens) > 0 {
		outcome.Pieces = choice.Logprobs.Tokens
		for _, logprob := range choice.Logprobs.TokenLogprobs {
			if logprob != nil {
				outcome.Logprobs = append(outcome.Logprobs, *logprob)
			}
		}
	}
	return outcome, 0, nil
}
