package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"touchstone/native"
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
	usageInAll   bool // chunks tell the usage so far
	logprobs     bool
	alternatives int // likely tokens to list beside the chosen one
	echo         bool
	promptOnly   bool // max_tokens is 0: nothing is generated
	n            int  // answers to each prompt
	prompts      []prompt
}

// prompt is a text or its tokens.
type prompt struct {
	text   string
	tokens []int32
}

// mostChoices bounds the answers to one request.
const mostChoices = 128

// defaultCompletionTokens is OpenAI's default of max_tokens for completions.
const defaultCompletionTokens = 16

// parseCompletion takes a request of /v1/completions.
func (s *Server) parseCompletion(f *fields) (openAIRequest, *problem.Problem) {
	q := openAIRequest{}
	s.parseShared(f, &q)
	q.prompts = f.prompts("prompt", s.options.Limits.VocabSize)
	q.echo = f.boolean("echo", false)
	least := 1
	if q.echo {
		least = 0
	}
	q.MaxTokens = f.integer("max_tokens", least, s.options.Limits.MaxTokens, min(defaultCompletionTokens, s.options.Limits.MaxTokens))
	if q.MaxTokens == 0 {
		q.promptOnly, q.MaxTokens = true, 1
	}
	if _, q.logprobs = f.values["logprobs"].(json.Number); q.logprobs {
		q.alternatives = f.integer("logprobs", 0, engine.MaxLogprobs, 0)
	} else {
		f.only("logprobs", nil)
	}
	q.ScorePrompt = q.echo && q.logprobs
	f.only("best_of", json.Number(strconv.Itoa(q.n)))
	f.only("suffix", nil, "")
	if len(q.prompts)*q.n > mostChoices {
		f.reject("n", fmt.Sprintf("so that all prompts together get at most %d answers", mostChoices), f.values["n"])
	}
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
	q.prompts = []prompt{{text: q.Prompt}}
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
		q.usageInAll = inner.boolean("continuous_usage_stats", false) && q.includeUsage
		inner.ignore("include_obfuscation")
		f.nest("stream_options", inner)
	}
	q.n = f.integer("n", 1, mostChoices, 1)
	q.FrequencyPenalty = f.number("frequency_penalty", -2, 2, false, 0)
	q.PresencePenalty = f.number("presence_penalty", -2, 2, false, 0)
	q.Biases = f.biases("logit_bias", s.options.Limits.VocabSize)
	q.MinTokens = f.integer("min_tokens", 0, s.options.Limits.MaxTokens, 0)
	q.IgnoreEndOfText = f.boolean("ignore_eos", false)
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

// prompts takes one prompt or several: strings, or lists of token ids.
func (f *fields) prompts(name string, vocabSize int) []prompt {
	constraint := fmt.Sprintf("a string of 1 to %d characters, a list of token ids, or a list of up to %d of these", maxBodyBytes, mostChoices)
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return nil
	}
	list, isList := value.([]any)
	if isList && (len(list) == 0 || len(list) > maxTokenIDs) {
		f.reject(name, constraint, value)
		return nil
	}
	if isList {
		if _, areIDs := list[0].(json.Number); !areIDs {
			return f.promptList(name, constraint, list, vocabSize)
		}
	}
	return []prompt{f.prompt(name, constraint, value, vocabSize)}
}

func (f *fields) promptList(name, constraint string, list []any, vocabSize int) []prompt {
	if len(list) > mostChoices {
		f.reject(name, constraint, list)
		return nil
	}
	prompts := make([]prompt, len(list))
	for i, element := range list {
		prompts[i] = f.prompt(fmt.Sprintf("%s[%d]", name, i), constraint, element, vocabSize)
	}
	return prompts
}

// prompt reads one prompt of a list, or the only one.
func (f *fields) prompt(name, constraint string, value any, vocabSize int) prompt {
	inner := &fields{values: map[string]any{name: value}}
	defer func() { f.errors = append(f.errors, inner.errors...) }()
	switch value := value.(type) {
	case string:
		return prompt{text: inner.text(name, maxBodyBytes)}
	case []any:
		if len(value) > 0 {
			return prompt{tokens: inner.tokenIDs(name, vocabSize)}
		}
	}
	inner.reject(name, constraint, value)
	return prompt{}
}

// mostBiases bounds the tokens of a logit_bias.
const mostBiases = 1024

// biases takes an object of numbers from -100 to 100 under token ids. -100 keeps a token from being chosen.
func (f *fields) biases(name string, vocabSize int) []native.Bias {
	value, present := f.take(name)
	if !present {
		return nil
	}
	object, ok := value.(map[string]any)
	if !ok || len(object) > mostBiases {
		f.reject(name, fmt.Sprintf("an object of at most %d token ids with numbers", mostBiases), value)
		return nil
	}
	var biases []native.Bias
	for _, key := range slices.Sorted(maps.Keys(object)) {
		number, _ := object[key].(json.Number)
		id, idErr := strconv.ParseInt(key, 10, 32)
		bias, err := strconv.ParseFloat(string(number), 64)
		if idErr != nil || id < 0 || id >= int64(vocabSize) || err != nil || bias < -100 || bias > 100 {
			f.reject(name+"."+shorten(key), fmt.Sprintf("a number from -100 to 100 under a token id below %d", vocabSize), object[key])
			continue
		}
		if bias == -100 {
			bias = native.Forbidden
		}
		biases = append(biases, native.Bias{Token: int32(id), Value: float32(bias)})
	}
	return biases
}

// requests gives what the engine is to run: n answers to each prompt, with consecutive seeds.
func (q *openAIRequest) requests(id string) []engine.Request {
	seed := q.Seed
	if seed == nil {
		random := engine.RandomSeed()
		seed = &random
	}
	var all []engine.Request
	for _, p := range q.prompts {
		for i := range uint64(q.n) {
			r := q.Request
			own := *seed + i
			r.Seed, r.JobID = &own, id
			if len(all) > 0 {
				r.JobID = fmt.Sprintf("%s-%d", id, len(all))
			}
			if p.tokens != nil {
				r.Tokens = p.tokens
			} else {
				r.Prompt = p.text
			}
			all = append(all, r)
		}
	}
	return all
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
