package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// The names of the dialects.
const (
	DialectTouchstone = "touchstone"
	DialectOpenAI     = "openai"
)

// RequestHeader carries the id of a request at many servers of the OpenAI API.
const RequestHeader = "X-Request-Id"

// OpenAIOffer is what a server of the OpenAI API offers beyond POST /v1/completions, which every subject must, as it was
// found at the start.
type OpenAIOffer struct {
	Model       string `json:"model"`       // the first of GET /v1/models; empty if it lists none
	Health      bool   `json:"health"`      // there is a GET /health
	Chat        bool   `json:"chat"`        // POST /v1/chat/completions answers
	Correlation string `json:"correlation"` // the header in which a caller's id comes back; empty if none does
}

// OpenAI is what was found; the zero value in another dialect.
func (t *Target) OpenAI() OpenAIOffer { return t.shared.OpenAI }

// Completion is a request to POST /v1/completions, greedy.
func (t *Target) Completion(prompt string, maxTokens int) Fields {
	return Fields{"model": t.shared.OpenAI.Model, "prompt": prompt, "max_tokens": maxTokens, "temperature": 0.0, "seed": 1}
}

// Chat is a request to POST /v1/chat/completions with one message of the user's, greedy.
func (t *Target) Chat(message string, maxTokens int) Fields {
	return t.Completion("", maxTokens).Without("prompt").With("messages", []map[string]string{{"role": "user", "content": message}})
}

// Streamed asks for a stream that ends with its usage.
func (f Fields) Streamed() Fields {
	return f.With("stream", true).With("stream_options", map[string]bool{"include_usage": true})
}

// probeOpenAI asks what the server offers. A server that answers wrongly offers what it answered: the specs judge it.
func (t *Target) probeOpenAI(ctx context.Context) OpenAIOffer {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	var offer OpenAIOffer
	if models, err := t.client.Models(ctx); err == nil {
		offer.Model = models[0]
	}
	t.shared.OpenAI = offer // requests name the model
	if response, err := t.client.Do(ctx, Get("/health")); err == nil {
		offer.Health = response.Status != http.StatusNotFound
	}
	if response, err := t.client.Do(ctx, Post("/v1/chat/completions", t.Chat("a", 1))); err == nil {
		offer.Chat = response.Status == http.StatusOK
	}
	id := uuid.NewString()
	response, err := t.client.Do(ctx, Get("/v1/models").With(CorrelationHeader, id).With(RequestHeader, id))
	switch {
	case err != nil:
	case response.Header.Get(CorrelationHeader) != "":
		offer.Correlation = CorrelationHeader
	case response.Header.Get(RequestHeader) == id: // else it is the server's own number, as OpenAI's is
		offer.Correlation = RequestHeader
	}
	return offer
}

// Models are the ids that GET /v1/models lists; none is an error.
func (c *Client) Models(ctx context.Context) ([]string, error) {
	response, err := c.Do(ctx, Get("/v1/models"))
	if err != nil {
		return nil, err
	}
	var models struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := response.JSON(&models); err != nil {
		return nil, fmt.Errorf("GET /v1/models: %w", err)
	}
	var ids []string
	for _, model := range models.Data {
		if model.ID != "" {
			ids = append(ids, model.ID)
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("GET /v1/models lists no model")
	}
	return ids, nil
}

// Usage counts tokens. Pointers tell a missing field from a zero.
type Usage struct {
	PromptTokens     *int `json:"prompt_tokens"`
	CompletionTokens *int `json:"completion_tokens"`
	TotalTokens      *int `json:"total_tokens"`
}

// CompletionChoice is one choice of a whole answer or of a chunk.
type CompletionChoice struct {
	Index        *int    `json:"index"`
	Text         *string `json:"text"`
	Message      *Said   `json:"message"` // of a chat
	Delta        *Said   `json:"delta"`   // of a chat's chunk
	FinishReason *string `json:"finish_reason"`
	Logprobs     *struct {
		Tokens []string `json:"tokens"`
	} `json:"logprobs"`
}

// Said is what a chat's message, or a piece of it, says.
type Said struct {
	Role    string  `json:"role"`
	Content *string `json:"content"`
}

// Says is the text of the choice, of whichever kind.
func (c CompletionChoice) Says() string {
	switch {
	case c.Text != nil:
		return *c.Text
	case c.Message != nil && c.Message.Content != nil:
		return *c.Message.Content
	case c.Delta != nil && c.Delta.Content != nil:
		return *c.Delta.Content
	}
	return ""
}

// CompletionBody is a whole answer, or a chunk of one.
type CompletionBody struct {
	ID      string             `json:"id"`
	Object  string             `json:"object"`
	Model   string             `json:"model"`
	Choices []CompletionChoice `json:"choices"`
	Usage   *Usage             `json:"usage"`
	Error   json.RawMessage    `json:"error"`
}

// Done is the data of the event that ends a stream of the OpenAI API.
const Done = "[DONE]"

// Completion is what an answer says, whether it came in one piece or in chunks.
type Completion struct {
	Pieces       []string // texts of the chunks that have any; one for a whole answer
	FinishReason string   // "length" or "stop"; the last given
	Usage        *Usage   // nil if none came
	Tokens       []string // as log-probabilities list them, if asked for and offered
}

// Text is what the pieces say together.
func (c Completion) Text() string { return strings.Join(c.Pieces, "") }

// Completion decodes a whole answer.
func (r *Response) Completion() (Completion, error) {
	var out Completion
	if r.Status != http.StatusOK {
		return out, fmt.Errorf("the answer is %d, want 200:\n%s", r.Status, abridge(string(r.Body)))
	}
	var body CompletionBody
	if err := r.JSON(&body); err != nil {
		return out, err
	}
	if len(body.Choices) != 1 {
		return out, fmt.Errorf("the answer has %d choices, want 1:\n%s", len(body.Choices), abridge(string(r.Body)))
	}
	out.add(body)
	return out, nil
}

// Completion decodes the chunks of a complete stream; its error names the one that cannot be.
func (s *Stream) Completion() (Completion, error) {
	var out Completion
	if !s.IsEventStream() {
		return out, fmt.Errorf("the answer is %d %s, not an event stream:\n%s", s.Status, s.Header.Get("Content-Type"), abridge(string(s.Raw())))
	}
	for i, event := range s.Events() {
		if event.Data == Done {
			continue
		}
		var body CompletionBody
		if err := json.Unmarshal([]byte(event.Data), &body); err != nil {
			return out, fmt.Errorf("chunk %d cannot be decoded: %w\n%s", i, err, abridge(event.Data))
		}
		if len(body.Error) > 0 {
			return out, fmt.Errorf("chunk %d is an error: %s", i, abridge(event.Data))
		}
		out.add(body)
	}
	return out, nil
}

func (c *Completion) add(body CompletionBody) {
	if body.Usage != nil {
		c.Usage = body.Usage
	}
	for _, choice := range body.Choices {
		if text := choice.Says(); text != "" {
			c.Pieces = append(c.Pieces, text)
		}
		if choice.FinishReason != nil {
			c.FinishReason = *choice.FinishReason
		}
		if choice.Logprobs != nil {
			c.Tokens = append(c.Tokens, choice.Logprobs.Tokens...)
		}
	}
}
