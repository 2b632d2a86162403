package api

import (
	"unicode/utf8"

	"touchstone/worker/engine"
)

// openAIAnswer builds the bodies that answer a request of an OpenAI-compatible endpoint.
type openAIAnswer struct {
	request   openAIRequest
	job       *engine.Job
	tokenizer engine.Tokenizer
	model     string
	created   int64          // Unix seconds
	decoder   engine.Decoder // of the tokens whose log-probabilities were given, for their place in the text
	offset    int            // characters that it gave
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
	return answerBody{ID: a.job.ID(), Object: object, Created: a.created, Model: a.model, Choices: []choice{}, Seed: a.seed()}
}

// seed is the seed in use as the client may send it: a negative one if that is what it sent. A seed of the worker's own
// choice is one that JSON clients do not round.
func (a *openAIAnswer) seed() any {
	if a.request.signedSeed {
		return int64(a.job.Seed())
	}
	return a.job.Seed()
}

// completion is the whole answer.
func (a *openAIAnswer) completion(text string, tokens []engine.Token, end engine.End) answerBody {
	body := a.body(false)
	reason := finishReason(end)
	c := choice{Logprobs: a.logprobs(tokens), FinishReason: &reason}
	if a.request.chat {
		c.Message = &delta{Role: "assistant", Content: text}
	} else {
		c.Text = &text
	}
	body.Choices = append(body.Choices, c)
	body.Usage = a.usage(end)
	return body
}

// chunk is a part of the answer; reason is empty before the last.
func (a *openAIAnswer) chunk(d delta, reason string, logprobs any) answerBody {
	body := a.body(true)
	c := choice{Logprobs: logprobs}
	if reason != "" {
		c.FinishReason = &reason
	}
	if a.request.chat {
		c.Delta = &d
	} else {
		c.Text = &d.Content
	}
	body.Choices = append(body.Choices, c)
	return body
}

// usageChunk is the chunk after the last, which has no choices.
func (a *openAIAnswer) usageChunk(end engine.End) answerBody {
	body := a.body(true)
	body.Usage = a.usage(end)
	return body
}

func (a *openAIAnswer) usage(end engine.End) *usage {
	prompt := a.job.PromptTokens()
	return &usage{PromptTokens: prompt, CompletionTokens: end.TokensOut, TotalTokens: prompt + end.TokensOut}
}

func finishReason(end engine.End) string {
	switch end.StopReason {
	case engine.StopMaxTokens, engine.StopContextFull:
		return "length"
	}
	return "stop"
}

// logprobs gives the log-probabilities of tokens in the shape of the endpoint, or nil if they were not asked for.
func (a *openAIAnswer) logprobs(tokens []engine.Token) any {
	if !a.request.logprobs {
		return nil
	}
	if a.request.chat {
		return a.chatLogprobs(tokens)
	}
	return a.completionLogprobs(tokens)
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
	TokenLogprobs []float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

func (a *openAIAnswer) completionLogprobs(tokens []engine.Token) completionLogprobs {
	out := completionLogprobs{
		Tokens: []string{}, TokenLogprobs: []float64{}, TopLogprobs: []map[string]float64{}, TextOffset: []int{},
	}
	for _, token := range tokens {
		top := map[string]float64{}
		for _, t := range token.Top[:min(a.request.alternatives, len(token.Top))] {
			text := engine.PieceText(a.tokenizer, t.ID)
			if _, exists := top[text]; !exists { // pieces of characters may look alike; the likeliest stands
				top[text] = t.Logprob
			}
		}
		out.Tokens = append(out.Tokens, engine.PieceText(a.tokenizer, token.ID))
		out.TokenLogprobs = append(out.TokenLogprobs, *token.Logprob)
		out.TopLogprobs = append(out.TopLogprobs, top)
		// What the token's own event shows may be held back, or be another token's: its place is where it was decoded.
		out.TextOffset = append(out.TextOffset, a.offset)
		a.offset += utf8.RuneCountInString(a.decoder.Push(token.ID))
	}
	return out
}
