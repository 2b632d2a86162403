package api

import (
	"strings"
	"time"
	"unicode/utf8"

	"touchstone/worker/engine"
)

// openAIAnswer builds the bodies that answer a request of an OpenAI-compatible endpoint.
type openAIAnswer struct {
	id        string
	request   openAIRequest
	choices   []*choiceState
	tokenizer engine.Tokenizer
	model     string
	created   int64 // Unix seconds
}

// choiceState is one of the answers to a request, as far as it was told.
type choiceState struct {
	index     int
	job       *engine.Job
	position  int            // events of the job that were told
	tokensOut int            // tokens that were told
	decoder   engine.Decoder // of the tokens whose log-probabilities were given, for their place in the text
	offset    int            // characters that it gave
	end       engine.End
}

func newOpenAIAnswer(id string, q openAIRequest, jobs []*engine.Job, tokenizer engine.Tokenizer, model string) *openAIAnswer {
	a := &openAIAnswer{id: id, request: q, tokenizer: tokenizer, model: model, created: time.Now().Unix()}
	for i, job := range jobs {
		a.choices = append(a.choices, &choiceState{index: i, job: job, decoder: tokenizer.NewDecoder()})
	}
	return a
}

type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

type delta struct {
	Role    string `json:"role,omitempty"`
	Content string `json:"content"`
}

type choice struct {
	Index        int     `json:"index"`
	Text         *string `json:"text,omitempty"`    // of a completion
	Message      *delta  `json:"message,omitempty"` // of a chat
	Delta        *delta  `json:"delta,omitempty"`   // of a chat's chunk
	Logprobs     any     `json:"logprobs"`
	FinishReason *string `json:"finish_reason"`
}

type answerBody struct {
	ID      string   `json:"id"`
	Object  string   `json:"object"`
	Created int64    `json:"created"`
	Model   string   `json:"model"`
	Choices []choice `json:"choices"`
	Usage   *usage   `json:"usage,omitempty"`
	Seed    any      `json:"seed"` // beyond OpenAI: the seed in use, so that the answer can be had again
}

func (a *openAIAnswer) body(chunk bool) answerBody {
	object := "text_completion" // of chunks too
	if a.request.chat {
		object = "chat.completion"
		if chunk {
			object = "chat.completion.chunk"
		}
	}
	return answerBody{ID: a.id, Object: object, Created: a.created, Model: a.model, Choices: []choice{}, Seed: a.seed()}
}

// seed is the seed in use as the client may send it: a negative one if that is what it sent. A seed of the worker's own
// choice is one that JSON clients do not round.
func (a *openAIAnswer) seed() any {
	if a.request.signedSeed {
		return int64(a.choices[0].job.Seed())
	}
	return a.choices[0].job.Seed()
}

// choice is one whole answer.
func (a *openAIAnswer) choice(c *choiceState, text string, tokens []engine.Token) choice {
	reason := finishReason(c.end)
	out := choice{Index: c.index, FinishReason: &reason}
	if a.request.chat {
		out.Message, out.Logprobs = &delta{Role: "assistant", Content: text}, a.logprobs(c, tokens)
		return out
	}
	if a.request.echo {
		text = a.echoed(c) + text
	}
	echoed := a.echoedLogprobs(c)
	out.Text, out.Logprobs = &text, a.logprobs(c, tokens)
	if own, scored := out.Logprobs.(completionLogprobs); scored && echoed != nil {
		out.Logprobs = echoed.append(own)
	}
	return out
}

// chunk is a part of the answer; reason is empty before the last.
func (a *openAIAnswer) chunk(c *choiceState, d delta, reason string, logprobs any) answerBody {
	body := a.body(true)
	out := choice{Index: c.index, Logprobs: logprobs}
	if reason != "" {
		out.FinishReason = &reason
	}
	if a.request.chat {
		out.Delta = &d
	} else {
		out.Text = &d.Content
	}
	body.Choices = append(body.Choices, out)
	if a.request.usageInAll {
		body.Usage = a.usage()
	}
	return body
}

// usageChunk is the chunk after the last, which has no choices.
func (a *openAIAnswer) usageChunk() answerBody {
	body := a.body(true)
	body.Usage = a.usage()
	return body
}

// usage counts the tokens so far. A prompt counts once, whatever the number of answers to it.
func (a *openAIAnswer) usage() *usage {
	u := &usage{}
	for i, c := range a.choices {
		if i%a.request.n == 0 {
			u.PromptTokens += c.job.PromptTokens()
		}
		u.CompletionTokens += c.tokensOut
	}
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
	return u
}

func finishReason(end engine.End) string {
	switch end.StopReason {
	case engine.StopMaxTokens, engine.StopContextFull:
		return "length"
	}
	return "stop"
}

// logprobs gives the log-probabilities of tokens in the shape of the endpoint, or nil if they were not asked for.
func (a *openAIAnswer) logprobs(c *choiceState, tokens []engine.Token) any {
	if !a.request.logprobs {
		return nil
	}
	if a.request.chat {
		return a.chatLogprobs(tokens)
	}
	return a.completionLogprobs(c, tokens)
}

type chatToken struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

type chatLogprob struct {
	chatToken
	TopLogprobs []chatToken `json:"top_logprobs"`
}

type chatLogprobs struct {
	Content []chatLogprob `json:"content"`
}

func (a *openAIAnswer) chatLogprobs(tokens []engine.Token) chatLogprobs {
	entry := func(id int32, logprob float64) chatToken {
		return chatToken{Token: engine.PieceText(a.tokenizer, id), Logprob: logprob, Bytes: byteValues(a.tokenizer.Piece(id))}
	}
	out := chatLogprobs{Content: []chatLogprob{}}
	for _, token := range tokens {
		e := chatLogprob{chatToken: entry(token.ID, *token.Logprob), TopLogprobs: []chatToken{}}
		for _, top := range token.Top[:min(a.request.alternatives, len(token.Top))] {
			e.TopLogprobs = append(e.TopLogprobs, entry(top.ID, top.Logprob))
		}
		out.Content = append(out.Content, e)
	}
	return out
}

type completionLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []*float64           `json:"token_logprobs"` // null for the first token of a prompt, which follows nothing
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`   // likewise
	TextOffset    []int                `json:"text_offset"`
}

func newCompletionLogprobs() completionLogprobs {
	return completionLogprobs{Tokens: []string{}, TokenLogprobs: []*float64{}, TopLogprobs: []map[string]float64{}, TextOffset: []int{}}
}

// append gives both, one after the other.
func (l completionLogprobs) append(next completionLogprobs) completionLogprobs {
	return completionLogprobs{
		Tokens: append(l.Tokens, next.Tokens...), TokenLogprobs: append(l.TokenLogprobs, next.TokenLogprobs...),
		TopLogprobs: append(l.TopLogprobs, next.TopLogprobs...), TextOffset: append(l.TextOffset, next.TextOffset...),
	}
}

func (a *openAIAnswer) completionLogprobs(c *choiceState, tokens []engine.Token) completionLogprobs {
	out := newCompletionLogprobs()
	for _, token := range tokens {
		a.addLogprob(&out, c, token.ID, token.Logprob, token.Top)
	}
	return out
}

func (a *openAIAnswer) addLogprob(out *completionLogprobs, c *choiceState, id int32, logprob *float64, likely []engine.TopLogprob) {
	var top map[string]float64
	if logprob != nil {
		top = map[string]float64{}
	}
	for _, t := range likely[:min(a.request.alternatives, len(likely))] {
		text := engine.PieceText(a.tokenizer, t.ID)
		if _, exists := top[text]; !exists { // pieces of characters may look alike; the likeliest stands
			top[text] = t.Logprob
		}
	}
	out.Tokens = append(out.Tokens, engine.PieceText(a.tokenizer, id))
	out.TokenLogprobs = append(out.TokenLogprobs, logprob)
	out.TopLogprobs = append(out.TopLogprobs, top)
	// What the token's own event shows may be held back, or be another token's: its place is where it was decoded.
	out.TextOffset = append(out.TextOffset, c.offset)
	c.offset += utf8.RuneCountInString(c.decoder.Push(id))
}

// echoed is the prompt as the answer repeats it.
func (a *openAIAnswer) echoed(c *choiceState) string {
	p := a.request.prompts[c.index/a.request.n]
	if p.tokens == nil {
		return p.text
	}
	decoder := a.tokenizer.NewDecoder()
	var text strings.Builder
	for _, id := range p.tokens {
		text.WriteString(decoder.Push(id))
	}
	return text.String() + decoder.Flush()
}

// echoedLogprobs gives the log-probabilities of the prompt's tokens, or nil. What comes after them stands behind the prompt.
func (a *openAIAnswer) echoedLogprobs(c *choiceState) *completionLogprobs {
	if !a.request.echo || !a.request.logprobs {
		return nil
	}
	out := newCompletionLogprobs()
	a.addLogprob(&out, c, c.job.PromptIDs()[0], nil, nil)
	for _, score := range c.job.PromptScores() {
		a.addLogprob(&out, c, score.ID, &score.Logprob, score.Top)
	}
	c.decoder, c.offset = a.tokenizer.NewDecoder(), utf8.RuneCountInString(a.echoed(c))
	return &out
}
