package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"touchstone/suites/wire"
)

// touchstone is POST /execute and what stands beside it.
type touchstone struct{}

// NewTouchstone is the interface of `worker serve`.
func NewTouchstone() API { return touchstone{} }

func (touchstone) Name() string         { return Touchstone }
func (touchstone) ReadyPaths() []string { return []string{"/health"} }
func (touchstone) Health() wire.Call    { return wire.Get("/health") }

func (touchstone) Offers(feature Feature) bool {
	return slices.Contains([]Feature{TokenIDs, RawPrompts, Timings, Resumable, Cancels, Tokenizes}, feature)
}

// fields is the request in the words of /execute.
func (touchstone) fields(r Request) Fields {
	if r.JobID == "" {
		r.JobID = NewJobID()
	}
	fields := Fields{
		"job_id": r.JobID, "prompt": r.Prompt, "max_tokens": r.MaxTokens, "temperature": r.Temperature, "top_k": r.TopK, "top_p": r.TopP,
		"min_p": r.MinP, "repetition_penalty": r.RepetitionPenalty, "seed": r.Seed,
	}
	if len(r.Stop) > 0 {
		fields["stop"] = r.Stop
	}
	if r.Logprobs > 0 {
		fields["logprobs"] = r.Logprobs
	}
	if r.LogitsHash {
		fields["logits_hash"] = true
	}
	return fields
}

func (t touchstone) Open(ctx context.Context, client *wire.Client, request Request, header map[string]string) (*Stream, error) {
	call := wire.Post("/execute", t.fields(request))
	for name, value := range header {
		call = call.With(name, value)
	}
	stream, err := client.Open(ctx, call)
	if err != nil {
		return nil, err
	}
	return NewStream(stream, t), nil
}

func (t touchstone) Whole(ctx context.Context, client *wire.Client, request Request) (Answer, error) {
	stream, err := t.Open(ctx, client, request, nil)
	if err != nil {
		return Answer{}, err
	}
	defer stream.Close()
	return stream.Finished()
}

func (touchstone) HoldsText(event wire.Event) bool    { return event.Type == "token" }
func (touchstone) Problem(stream *wire.Stream) string { return StreamProblem(stream) }

// finishes are the stop reasons of an end event.
var finishes = map[string]Finish{"max_tokens": AtLimit, "stop_sequence": AtStop, "end_of_text": AtEnd, "context_full": AtContext}

func (touchstone) Answer(stream *wire.Stream) (Answer, error) {
	var answer Answer
	generation, err := ReadGeneration(stream)
	switch {
	case err != nil:
		return answer, err
	case generation.Failure != nil:
		return answer, fmt.Errorf("the stream ended with %s: %s", generation.Failure.Code, generation.Failure.Message)
	case generation.End == nil:
		return answer, fmt.Errorf("the stream of %d tokens has no end event", len(generation.Tokens))
	}
	end := generation.End
	answer.Tokens, answer.CompletionTokens = generation.IDs(), end.TokensOut
	answer.Finish, answer.FinishWord, answer.LogitsSHA256 = finishes[end.StopReason], end.StopReason, end.LogitsSHA256
	if end.StopSequence != nil {
		answer.StopSequence = *end.StopSequence
	}
	if generation.Started != nil {
		answer.PromptTokens = &generation.Started.PromptTokens
	}
	for _, token := range generation.Tokens {
		piece := ""
		if token.T != nil {
			piece = *token.T
		}
		answer.Pieces = append(answer.Pieces, piece)
		if token.Logprob != nil {
			answer.Logprobs = append(answer.Logprobs, *token.Logprob)
			top := []Alternative{}
			for _, t := range token.Top {
				top = append(top, Alternative{ID: t.ID, Text: t.T, Logprob: t.Logprob})
			}
			answer.Top = append(answer.Top, top)
		}
	}
	answer.Prefill, answer.Decode = duration(end.PrefillMS), duration(end.DecodeTimeMS)
	if end.TokensPerSecond != nil {
		answer.TokensPerSecond = *end.TokensPerSecond
	}
	return answer, nil
}

func duration(milliseconds *float64) time.Duration {
	if milliseconds == nil {
		return 0
	}
	return time.Duration(*milliseconds * float64(time.Millisecond))
}

// Cancel ends a job; a worker that does not know it accepts that, too.
func (touchstone) Cancel(ctx context.Context, client *wire.Client, jobID string) error {
	response, err := client.Do(ctx, wire.Post("/cancel", Fields{"job_id": jobID}))
	if err != nil {
		return err
	}
	if response.Status != http.StatusAccepted {
		return fmt.Errorf("POST /cancel: %d, want 202: %.300s", response.Status, response.Body)
	}
	return nil
}

func (touchstone) Tokenize(ctx context.Context, client *wire.Client, text string) ([]int32, error) {
	var answer struct {
		Tokens []Piece `json:"tokens"`
	}
	err := ask(ctx, client, wire.Post("/tokenize", Fields{"text": text}), &answer)
	return PieceIDs(answer.Tokens), err
}

func (touchstone) Detokenize(ctx context.Context, client *wire.Client, ids []int32) (string, error) {
	var answer struct {
		Text string `json:"text"`
	}
	err := ask(ctx, client, wire.Post("/detokenize", Fields{"ids": ids}), &answer)
	return answer.Text, err
}

// ask makes a call that must be answered with 200, and decodes the answer.
func ask(ctx context.Context, client *wire.Client, call wire.Call, into any) error {
	response, err := client.Do(ctx, call)
	if err != nil {
		return err
	}
	if response.Status != http.StatusOK {
		return fmt.Errorf("%s %s: %d, want 200: %.300s", call.Method, call.Path, response.Status, response.Body)
	}
	return response.JSON(into)
}

// Execute asks POST /execute for a generation in its own words and reads the stream to its end.
func Execute(ctx context.Context, client *wire.Client, fields Fields, header ...string) (*wire.Stream, error) {
	call := wire.Post("/execute", fields)
	for i := 0; i+1 < len(header); i += 2 {
		call = call.With(header[i], header[i+1])
	}
	stream, err := client.Open(ctx, call)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	return stream, stream.Drain()
}
