package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"touchstone/suites/wire"
)

// openAI is one of the two endpoints of the OpenAI API that continue text.
type openAI struct {
	name, path, model string
	features          []Feature
	prompt            func(fields Fields, request Request) Fields
}

// NewCompletions is POST /v1/completions, asked for the named model.
func NewCompletions(model string) API {
	return openAI{name: OpenAICompletions, path: "/v1/completions", model: model, features: []Feature{RawPrompts},
		prompt: func(fields Fields, r Request) Fields { return fields.With("prompt", r.Prompt) }}
}

// NewChat is POST /v1/chat/completions, asked for the named model with a conversation, or with a prompt as the user's message.
func NewChat(model string) API {
	return openAI{name: OpenAIChat, path: "/v1/chat/completions", model: model,
		prompt: func(fields Fields, r Request) Fields {
			if r.Messages == nil {
				r.Messages = []Message{{Role: "user", Content: r.Prompt}}
			}
			return fields.With("messages", r.Messages)
		}}
}

func (o openAI) Name() string                { return o.name }
func (o openAI) Offers(feature Feature) bool { return slices.Contains(o.features, feature) }
func (o openAI) ReadyPaths() []string        { return []string{"/health", "/v1/models"} }
func (o openAI) Health() wire.Call           { return wire.Get("/v1/models") }

// fields is the request in the API's words. Top-k, min-p and the repetition penalty are extensions of some servers.
func (o openAI) fields(r Request) (Fields, error) {
	for _, extension := range []struct {
		name string
		used bool
	}{
		{"top_k", r.TopK != 0}, {"min_p", r.MinP != 0}, {"repetition_penalty", r.RepetitionPenalty != 1}, {"logits_hash", r.LogitsHash},
	} {
		if extension.used {
			return nil, &NotOffered{API: o.name, Field: extension.name}
		}
	}
	fields := o.prompt(Fields{
		"model": o.model, "max_tokens": r.MaxTokens, "temperature": r.Temperature, "top_p": r.TopP, "seed": r.Seed % (1 << 31),
	}, r)
	if len(r.Stop) > 0 {
		fields["stop"] = r.Stop
	}
	if r.Logprobs > 0 {
		fields["logprobs"] = r.Logprobs
		if o.name == OpenAIChat {
			fields["logprobs"], fields["top_logprobs"] = true, r.Logprobs
		}
	}
	return fields, nil
}

func (o openAI) Open(ctx context.Context, client *wire.Client, request Request, header map[string]string) (*Stream, error) {
	fields, err := o.fields(request)
	if err != nil {
		return nil, err
	}
	call := wire.Post(o.path, fields.Streamed())
	for name, value := range header {
		call = call.With(name, value)
	}
	stream, err := client.Open(ctx, call)
	if err != nil {
		return nil, err
	}
	return NewStream(stream, o), nil
}

func (o openAI) Whole(ctx context.Context, client *wire.Client, request Request) (Answer, error) {
	fields, err := o.fields(request)
	if err != nil {
		return Answer{}, err
	}
	response, err := client.Do(ctx, wire.Post(o.path, fields))
	if err != nil {
		return Answer{}, err
	}
	completion, err := ReadCompletion(response)
	if err != nil {
		return Answer{}, fmt.Errorf("POST %s: %w", o.path, err)
	}
	return completion.answer()
}

func (o openAI) HoldsText(event wire.Event) bool    { return event.Data != Done && chunkText(event) != "" }
func (o openAI) Problem(stream *wire.Stream) string { return CompletionProblem(stream) }

func (o openAI) Answer(stream *wire.Stream) (Answer, error) {
	completion, err := ReadChunks(stream)
	if err != nil {
		return Answer{}, err
	}
	return completion.answer()
}

// answer is what a completion says, in the words of no interface.
func (c Completion) answer() (Answer, error) {
	if c.FinishReason == "" {
		return Answer{}, errors.New("the answer has no finish_reason")
	}
	answer := Answer{Pieces: c.Pieces, FinishWord: c.FinishReason, Logprobs: c.Logprobs,
		TokenTexts: c.Tokens, TextOffsets: c.TextOffsets, Top: c.Top, TopByText: c.TopByText}
	switch c.FinishReason {
	case "length":
		answer.Finish = AtLimit
	case "stop":
		answer.Finish = Stopped
	}
	if c.Usage != nil {
		answer.PromptTokens, answer.CompletionTokens = c.Usage.PromptTokens, c.Usage.CompletionTokens
	}
	return answer, nil
}
