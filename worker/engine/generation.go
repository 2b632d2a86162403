package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"slices"
	"time"

	"touchstone/native"
)

// generation is the state of a running job that the engine's loop alone touches.
type generation struct {
	request   *Request
	tokenizer Tokenizer
	decoder   Decoder
	stops     stopMatcher
	sampling  *native.Sampling
	ends      []native.Bias // forbid the tokens that end a text
	logits    []float32
	chain     [sha256.Size]byte

	length    int     // positions in the session
	evaluated int     // tokens of the prompt that were evaluated, or taken over from another session
	generated []int32 // tokens after the prompt that were evaluated
	next      []int32 // the token to evaluate next: the last one chosen
	tokensOut int
	pending   *Token // not sent yet, because text is held back
	began     time.Time
	chosen    time.Time // when a token was last chosen, the one that ends a text included
	prefilled time.Time // when the prompt was evaluated
	first     time.Time // when the first token was chosen
	last      time.Time // when the last token was chosen
}

func newGeneration(job *Job, tokenizer Tokenizer, endTokens []int32, now time.Time) *generation {
	request := &job.request
	g := &generation{
		request: request, tokenizer: tokenizer, decoder: tokenizer.NewDecoder(), stops: stopMatcher{stops: request.Stop},
		sampling: request.sampling(len(job.tokens)), next: make([]int32, 1), began: now,
	}
	if request.MinTokens > 0 {
		g.ends = slices.Clone(request.Biases)
		for _, token := range endTokens {
			g.ends = append(g.ends, native.Bias{Token: token, Value: native.Forbidden})
		}
	}
	return g
}

// nextSampling is how the next token is chosen.
func (g *generation) nextSampling() *native.Sampling {
	g.sampling.Biases = g.request.Biases
	if g.tokensOut < g.request.MinTokens {
		g.sampling.Biases = g.ends
	}
	return g.sampling
}

// decoding tells whether the prompt was evaluated.
func (g *generation) decoding() bool { return !g.prefilled.IsZero() }

// accept takes a chosen token and returns the events that can be sent and, if the job is done, its End. A token whose text
// is held back in part waits for the next, because the token that ends a text has no event that could carry what was held.
func (g *generation) accept(item *native.StepItem, limitReason StopReason, now time.Time) ([]Token, *End) {
	g.next[0] = item.Token
	if g.request.LogitsHash {
		g.chain = chainLogits(g.chain, item.Logits)
	}
	if !g.request.IgnoreEndOfText && g.tokenizer.IsEndOfText(item.Token) {
		if g.pending != nil {
			if stop := g.flush(g.pending); stop != "" {
				return g.settled(), g.end(StopSequence, &stop)
			}
		}
		return g.settled(), g.end(StopEndOfText, nil)
	}
	events := g.settled()
	token := g.token(item)
	if g.tokensOut == 0 {
		g.first = now
	}
	g.last = now
	g.tokensOut++
	text, stop := g.stops.push(g.decoder.Push(item.Token))
	token.Text = text
	if stop != "" {
		return append(events, token), g.end(StopSequence, &stop)
	}
	if g.tokensOut == g.request.MaxTokens {
		if stop := g.flush(&token); stop != "" {
			return append(events, token), g.end(StopSequence, &stop)
		}
		return append(events, token), g.end(limitReason, nil)
	}
	if g.stops.held != "" || g.decoder.Held() {
		g.pending = &token
		return events, nil
	}
	return append(events, token), nil
}

// settled gives the token that waited, if any.
func (g *generation) settled() []Token {
	if g.pending == nil {
		return nil
	}
	token := *g.pending
	g.pending = nil
	return []Token{token}
}

// flush adds all that is held back to the last token, and returns the stop sequence that this completes, if any.
func (g *generation) flush(token *Token) (stop string) {
	text, stop := g.stops.push(g.decoder.Flush())
	if stop == "" {
		text += g.stops.flush()
	}
	token.Text += text
	return stop
}

// token makes the event of a chosen token, its text aside.
func (g *generation) token(item *native.StepItem) Token {
	token := Token{Index: g.tokensOut, ID: item.Token}
	if g.request.Logprobs > 0 {
		logprob := finite(item.Logprob)
		token.Logprob = &logprob
		for _, top := range item.Top {
			token.Top = append(token.Top, TopLogprob{ID: top.Token, Text: PieceText(g.tokenizer, top.Token), Logprob: finite(top.Logprob)})
		}
	}
	return token
}

func (g *generation) end(reason StopReason, matched *string) *End {
	end := &End{
		TokensOut: g.tokensOut, StopReason: reason, StopSequence: matched,
		PrefillMS: milliseconds(g.prefilled.Sub(g.began)), DecodeTimeMS: milliseconds(g.last.Sub(g.first)),
	}
	if end.DecodeTimeMS > 0 {
		end.TokensPerSecond = float64(g.tokensOut-1) / end.DecodeTimeMS * 1000
	}
	if g.request.LogitsHash {
		end.LogitsSHA256 = hex.EncodeToString(g.chain[:])
	}
	return end
}

// chainLogits gives SHA-256(previous hash, logits as little-endian float32). The chain of a job starts with 32 zero bytes and
// goes over the logits of every chosen token, so that two jobs with the same hash had the same bits at every step.
func chainLogits(previous [sha256.Size]byte, logits []float32) [sha256.Size]byte {
	data := make([]byte, sha256.Size+4*len(logits))
	copy(data, previous[:])
	for i, value := range logits {
		binary.LittleEndian.PutUint32(data[sha256.Size+4*i:], math.Float32bits(value))
	}
	return sha256.Sum256(data)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// finite keeps a log-probability expressible in JSON: minus infinity becomes -9999, as OpenAI's interface has it.
func finite(logprob float32) float64 {
	if math.IsInf(float64(logprob), 0) || math.IsNaN(float64(logprob)) {
		return -9999
	}
	return float64(logprob)
}
