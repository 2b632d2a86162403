package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"touchstone/suites/wire"
)

// RequestHeader carries the id of a request at many servers of the OpenAI API.
const RequestHeader = "X-Request-Id"

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
		Tokens        []string             `json:"tokens"` // of a completion
		TokenLogprobs []*float64           `json:"token_logprobs"`
		TopLogprobs   []map[string]float64 `json:"top_logprobs"`
		TextOffset    []int                `json:"text_offset"`
		Content       []struct {           // of a chat
			Token   string   `json:"token"`
			Logprob *float64 `json:"logprob"`
			Top     []struct {
				Token   string  `json:"token"`
				Logprob float64 `json:"logprob"`
			} `json:"top_logprobs"`
		} `json:"content"`
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
	Logprobs     []float64
	TextOffsets  []int
	Top          [][]Alternative
	TopByText    []map[string]float64
}

// Text is what the pieces say together.
func (c Completion) Text() string { return strings.Join(c.Pieces, "") }

// ReadCompletion decodes a whole answer.
func ReadCompletion(r *wire.Response) (Completion, error) {
	var out Completion
	if r.Status != http.StatusOK {
		return out, fmt.Errorf("the answer is %d, want 200:\n%s", r.Status, wire.Abridge(string(r.Body)))
	}
	var body CompletionBody
	if err := r.JSON(&body); err != nil {
		return out, err
	}
	if len(body.Choices) != 1 {
		return out, fmt.Errorf("the answer has %d choices, want 1:\n%s", len(body.Choices), wire.Abridge(string(r.Body)))
	}
	out.add(body)
	return out, nil
}

// ReadChunks decodes the chunks of a complete stream; its error names the one that cannot be.
func ReadChunks(s *wire.Stream) (Completion, error) {
	var out Completion
	if !s.IsEventStream() {
		return out, fmt.Errorf("the answer is %d %s, not an event stream:\n%s", s.Status, s.Header.Get("Content-Type"), wire.Abridge(string(s.Raw())))
	}
	for i, event := range s.Events() {
		if event.Data == Done {
			continue
		}
		var body CompletionBody
		if err := json.Unmarshal([]byte(event.Data), &body); err != nil {
			return out, fmt.Errorf("chunk %d cannot be decoded: %w\n%s", i, err, wire.Abridge(event.Data))
		}
		if len(body.Error) > 0 {
			return out, fmt.Errorf("chunk %d is an error: %s", i, wire.Abridge(event.Data))
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
			c.TextOffsets = append(c.TextOffsets, choice.Logprobs.TextOffset...)
			c.TopByText = append(c.TopByText, choice.Logprobs.TopLogprobs...)
			for _, logprob := range choice.Logprobs.TokenLogprobs {
				if logprob != nil {
					c.Logprobs = append(c.Logprobs, *logprob)
				}
			}
			for _, token := range choice.Logprobs.Content {
				c.Tokens = append(c.Tokens, token.Token)
				if token.Logprob != nil {
					c.Logprobs = append(c.Logprobs, *token.Logprob)
				}
				top := []Alternative{}
				for _, t := range token.Top {
					top = append(top, Alternative{ID: -1, Text: t.Token, Logprob: t.Logprob})
				}
				c.Top = append(c.Top, top)
			}
		}
	}
}

// chunkText is the text of a chunk; empty for an event that is none or has none.
func chunkText(event wire.Event) string {
	var body CompletionBody
	if json.Unmarshal([]byte(event.Data), &body) != nil {
		return ""
	}
	var text strings.Builder
	for _, choice := range body.Choices {
		text.WriteString(choice.Says())
	}
	return text.String()
}

// Streamed asks for a stream that ends with its usage.
func (f Fields) Streamed() Fields {
	return f.With("stream", true).With("stream_options", map[string]bool{"include_usage": true})
}

// Models are the ids that GET /v1/models lists; none is an error.
func Models(ctx context.Context, client *wire.Client) ([]string, error) {
	response, err := client.Do(ctx, wire.Get("/v1/models"))
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
