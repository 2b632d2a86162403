package api

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"touchstone/worker/engine"
	"touchstone/worker/internal/problem"
)

// openAIRequest is a request of an OpenAI-compatible endpoint, chat or not.
type openAIRequest struct {
	engine.Request
	model        string
	chat         bool
	stream       bool
	includeUsage bool
	signedSeed   bool // the client sent a negative seed
	logprobs     bool
	alternatives int // likely tokens to list beside the chosen one
}

// defaultCompletionTokens is OpenAI's default of max_tokens for completions.
const defaultCompletionTokens = 16

// parseCompletion takes a request of /v1/completions.
func (s *Server) parseCompletion(f *fields) (openAIRequest, *problem.Problem) {
	q := openAIRequest{}
	s.parseShared(f, &q)
	q.Prompt, q.Tokens = f.prompt("prompt", s.options.Limits.VocabSize)
	q.MaxTokens = f.integer("max_tokens", 1, s.options.Limits.MaxTokens, min(defaultCompletionTokens, s.options.Limits.MaxTokens))
	if _, q.logprobs = f.values["logprobs"].(json.Number); q.logprobs {
		q.alternatives = f.integer("logprobs", 0, engine.MaxLogprobs, 0)
	} else {
		f.only("logprobs", nil)
	}
	f.only("echo", false)
	f.only("best_of", json.Number("1"))
	f.only("suffix", nil, "")
	return q.finished(), f.problem()
}

// parseChat takes a request of /v1/chat/completions.
func (s *Server) parseChat(f *fields) (openAIRequest, *problem.Problem) {
	q := openAIRequest{chat: true}
	s.parseShared(f, &q)
	messages := f.messages("messages")
	old := f.integer("max_tokens", 1, s.options.Limits.MaxTokens, 0)
	q.MaxTokens = f.integer("max_completion_tokens", 1, s.options.Limits.MaxTokens, old)
	q.logprobs = f.boolean("logprobs", false)
	q.alternatives = f.integer("top_logprobs", 0, engine.MaxLogprobs, 0)
	if q.alternatives > 0 && !q.logprobs {
		f.reject("top_logprobs", "used together with logprobs: true", f.values["top_logprobs"])
	}
	f.only("tools", []any{})
	f.only("tool_choice", "none", "auto")
	f.only("functions", []any{})
	f.only("modalities", []any{"text"})
	f.only("response_format", map[string]any{"type": "text"})
	f.ignore("parallel_tool_calls", "reasoning_effort", "verbosity", "prediction")
	if p := f.problem(); p != nil {
		return q, p
	}
	var err error
	if q.Prompt, err = s.options.Model.Chat.Render(messages); err != nil {
		return q, fieldProblem("messages", "a conversation that the model's chat template takes", err.Error())
	}
	return q.finished(), nil
}

// parseShared takes the fields that both endpoints have.
func (s *Server) parseShared(f *fields, q *openAIRequest) {
	f.nullIsAbsent = true
	f.allowSingleStop("stop")
	q.signedSeed = f.allowSignedSeed("seed")
	q.Parameters = parseParameters(f, s.options.Limits)
	q.stream = f.boolean("stream", false)
	if options, present := f.take("stream_options"); present {
		nested, ok := options.(map[string]any)
		if !ok {
			f.reject("stream_options", "an object", options)
		}
		inner := &fields{values: nested, nullIsAbsent: true}
		q.includeUsage = inner.boolean("include_usage", false)
		inner.ignore("include_obfuscation")
		f.nest("stream_options", inner)
	}
	f.only("n", json.Number("1"))
	f.only("frequency_penalty", json.Number("0"))
	f.only("presence_penalty", json.Number("0"))
	f.only("logit_bias", map[string]any{})
	f.ignore("user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key")
	q.model = f.model("model", s.options.Model.Name)
}

// checkModel refuses a request for another model, where names are taken at their word.
func (s *Server) checkModel(q openAIRequest) *problem.Problem {
	if !s.options.StrictModel || slices.Contains(s.modelNames(), q.model) {
		return nil
	}
	return s.otherModel(q.model)
}

// model takes the name of a model.
func (f *fields) model(name, served string) string {
	constraint := "a string, such as " + strconv.Quote(served) + ", the model of this worker"
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return ""
	}
	text, ok := value.(string)
	if !ok {
		f.reject(name, constraint, value)
	}
	return text
}

// finished settles what the engine needs to know about log-probabilities: it gives the chosen token's with at least one
// alternative.
func (q openAIRequest) finished() openAIRequest {
	if q.logprobs {
		q.Logprobs = max(q.alternatives, 1)
	}
	return q
}

// prompt takes a prompt: a string, a list of token ids, or a list of one of these.
func (f *fields) prompt(name string, vocabSize int) (string, []int32) {
	constraint := fmt.Sprintf("one string of 1 to %d characters or one list of token ids", engine.MaxPromptCharacters)
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return "", nil
	}
	list, isList := value.([]any)
	if isList && len(list) == 1 {
		if _, isNumber := list[0].(json.Number); !isNumber {
			value = list[0]
			list, isList = value.([]any)
		}
	}
	inner := &fields{values: map[string]any{name: value}}
	defer func() { f.errors = append(f.errors, inner.errors...) }()
	if _, isText := value.(string); isText {
		return inner.text(name, engine.MaxPromptCharacters), nil
	}
	if !isList || len(list) == 0 {
		inner.reject(name, constraint, value)
		return "", nil
	}
	if _, isNumber := list[0].(json.Number); !isNumber {
		inner.reject(name, constraint+"; send several prompts as several requests", value)
		return "", nil
	}
	return "", inner.tokenIDs(name, vocabSize)
}

// messages takes a conversation. Contents are strings or lists of text parts.
func (f *fields) messages(name string) []Message {
	const constraint = "a non-empty list of messages"
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return nil
	}
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		f.reject(name, constraint, value)
		return nil
	}
	messages := make([]Message, len(list))
	for i, element := range list {
		object, ok := element.(map[string]any)
		if !ok {
			f.reject(fmt.Sprintf("%s[%d]", name, i), "an object with role and content", element)
			continue
		}
		inner := &fields{values: object, nullIsAbsent: true}
		messages[i] = Message{Role: inner.oneOf("role", "system", "user", "assistant", "developer"), Content: inner.content("content")}
		if messages[i].Role == "developer" { // OpenAI's newer name
			messages[i].Role = "system"
		}
		inner.ignore("name")
		for _, unsupported := range []string{"refusal", "audio", "annotations", "tool_calls", "function_call"} {
			inner.only(unsupported, []any{})
		}
		f.nest(fmt.Sprintf("%s[%d]", name, i), inner)
	}
	return messages
}

func (f *fields) content(name string) string {
	const constraint = "a string or a list of text parts"
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return ""
	}
	if text, ok := value.(string); ok {
		return text
	}
	parts, ok := value.([]any)
	if !ok {
		f.reject(name, constraint, value)
	}
	var text strings.Builder
	for i, part := range parts {
		object, _ := part.(map[string]any)
		piece, ok := object["text"].(string)
		if !ok || object["type"] != "text" {
			f.reject(fmt.Sprintf("%s[%d]", name, i), "a part of type text", part)
		}
		text.WriteString(piece)
	}
	return text.String()
}
