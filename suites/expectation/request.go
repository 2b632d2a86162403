package expectation

import (
	"math"
	"math/rand/v2"

	"touchstone/native"
)

// Request is what is asked of a worker, in no protocol's words.
type Request struct {
	Seed  uint64 `json:"-"` // of the run; with the index it makes the request again
	Index int    `json:"-"`

	Prompt Prompt `json:"prompt"`

	Temperature       float64  `json:"temperature"`
	TopP              float64  `json:"top_p"`
	TopK              int      `json:"top_k"`
	MinP              float64  `json:"min_p"`
	RepetitionPenalty float64  `json:"repetition_penalty"`
	SamplingSeed      uint64   `json:"seed"`
	MaxTokens         int      `json:"max_tokens"`
	Stop              []string `json:"stop,omitempty"`

	Logprobs     bool `json:"logprobs"`     // of the chosen tokens
	Alternatives int  `json:"alternatives"` // likely tokens listed beside each
	LogitsHash   bool `json:"logits_hash"`
	Stream       bool `json:"stream"`
	Company      int  `json:"company"` // requests that are sent together with this one, itself included
}

// Offer is what a door of a worker takes. A field of a request that is not offered keeps the value that changes nothing.
type Offer struct {
	Text, Tokens, Chat bool // forms of a prompt
	TopK, MinP         bool
	RepetitionPenalty  bool
	Stop               int // most stop strings
	Alternatives       int // most alternatives; 0 where log-probabilities are not offered
	LogitsHash         bool
	SeedBits           int // 64, or fewer where a seed is a smaller number
	MaxTokens          int // most tokens of an answer
	Company            int // most requests at a time
}

// Everything is the offer of a worker that takes all there is, prompts as text.
func Everything() Offer {
	return Offer{Text: true, TopK: true, MinP: true, RepetitionPenalty: true, Stop: 4, Alternatives: 20, LogitsHash: true,
		SeedBits: 64, MaxTokens: 2048, Company: 12}
}

// neutral is a request whose fields change nothing.
func neutral(seed uint64, index int) Request {
	return Request{Seed: seed, Index: index, TopP: 1, RepetitionPenalty: 1, Company: 1}
}

// chance is true with a probability.
func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }

// logUniform draws from 1 to most, each order of magnitude as often as the next.
func logUniform(r *rand.Rand, most int) int {
	return min(most, int(math.Exp(r.Float64()*math.Log(float64(most)+1))))
}

// typed is a number as people write it: two decimals as a rule, now and then all that a float has.
func typed(r *rand.Rand, least, most float64) float64 {
	value := least + (most-least)*r.Float64()
	if chance(r, 0.8) {
		return math.Min(most, math.Max(least, math.Round(value*100)/100))
	}
	return value
}

// sampling draws how tokens are chosen, each field over its whole range.
func (q *Request) sampling(r *rand.Rand, offer Offer, vocabulary int) {
	q.SamplingSeed = samplingSeed(r, offer.SeedBits)
	if chance(r, 0.75) {
		q.Temperature = typed(r, 0.01, 2)
		if chance(r, 0.3) {
			q.Temperature = []float64{0.01, 0.7, 1, 2}[r.IntN(4)]
		}
	}
	if chance(r, 0.35) {
		q.TopP = typed(r, 0, 1)
	}
	if offer.TopK && chance(r, 0.35) {
		q.TopK = logUniform(r, vocabulary)
	}
	if offer.MinP && chance(r, 0.35) {
		q.MinP = math.Pow(typed(r, 0, 1), 2)
	}
	if offer.RepetitionPenalty && chance(r, 0.35) {
		q.RepetitionPenalty = typed(r, 0.7, 1.6)
		if chance(r, 0.2) {
			q.RepetitionPenalty = typed(r, 0.01, 2)
		}
	}
}

// samplingSeed is any seed of so many bits, the edges of the usual types more often than chance would have them.
func samplingSeed(r *rand.Rand, bits int) uint64 {
	mask := ^uint64(0)
	if bits < 64 {
		mask = 1<<bits - 1
	}
	edges := []uint64{0, 1, 42, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1<<53 + 1, 1<<63 - 1, 1 << 63, ^uint64(0)}
	if chance(r, 0.2) {
		return edges[r.IntN(len(edges))] & mask
	}
	return r.Uint64() & mask
}

// lengths draws the tokens of a prompt and the most of its answer, together at most the context.
func lengths(r *rand.Rand, context, most int) (prompt, answer int) {
	switch u := r.Float64(); {
	case u < 0.45:
		prompt = 1 + r.IntN(24)
	case u < 0.9:
		prompt = logUniform(r, context-1)
	default:
		prompt = 1 + r.IntN(context-1)
	}
	prompt = min(prompt, context-1)
	left := min(context-prompt, most)
	answer = 1 + r.IntN(min(48, left))
	if chance(r, 0.05) {
		answer = 1 + r.IntN(left)
	}
	if chance(r, 0.05) { // the context is full to the last token
		answer = min(left, 1+r.IntN(48))
		prompt = context - answer
	}
	return prompt, answer
}

// Bursts divides n requests into groups that are sent together: a request's company is the size of its group.
func Bursts(seed uint64, n, most int) []int {
	r := Random(seed, -1)
	var sizes []int
	for n > 0 {
		size := 1
		if chance(r, 0.6) {
			size = 1 + r.IntN(most)
		}
		size = min(size, n)
		sizes = append(sizes, size)
		n -= size
	}
	return sizes
}

// Sampling draws how a native step chooses a token, each field over its whole range.
func Sampling(r *rand.Rand, vocabulary int) *native.Sampling {
	q := neutral(0, 0)
	q.sampling(r, Everything(), vocabulary)
	q.Alternatives = r.IntN(21)
	return q.native()
}

// Random is the source of a case; nothing else decides what it is.
func Random(seed uint64, index int) *rand.Rand {
	return rand.New(rand.NewPCG(seed, uint64(index)*0x9e3779b97f4a7c15+1))
}
