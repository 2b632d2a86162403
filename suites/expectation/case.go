package expectation

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode"
)

// Case is a request with the answer that a worker of canonical numerics must give.
type Case struct {
	Request
	IDs  []int32 // the prompt as the model sees it
	Want Answer
}

// Kind names these cases in GATE_CASE.
const Kind = "expectation"

// Name is the case as GATE_CASE takes it.
func (c Case) Name() string { return Name(Kind, c.Seed, c.Index) }

// Cases draws n cases of a run.
func (r *Reference) Cases(seed uint64, n int, offer Offer) ([]Case, error) {
	var out []Case
	for _, size := range Bursts(seed, n, max(1, offer.Company)) {
		for range size {
			c, err := r.Case(seed, len(out), offer)
			if err != nil {
				return nil, err
			}
			c.Company = size
			out = append(out, c)
		}
	}
	return out, nil
}

// Groups divides the cases of a run into those that are sent together.
func Groups(cases []Case) [][]Case {
	var out [][]Case
	for len(cases) > 0 {
		size := min(max(1, cases[0].Company), len(cases))
		out = append(out, cases[:size])
		cases = cases[size:]
	}
	return out
}

// Case draws one case. The same seed, index and offer give the same case, its company aside.
func (r *Reference) Case(seed uint64, index int, offer Offer) (Case, error) {
	source := Random(seed, index)
	q := neutral(seed, index)
	length, most := lengths(source, r.contextLength, offer.MaxTokens)
	ids, err := q.prompt(source, r.tokens, offer, length)
	if err != nil {
		return Case{}, fmt.Errorf("%s: %w", Name(Kind, seed, index), err)
	}
	if len(ids) >= r.contextLength { // a chat may be longer than wished
		q.Prompt = Prompt{Chat: []Message{{Role: "user", Content: "a"}}}
		if ids, err = r.tokens.EncodePrompt(ChatML(q.Prompt.Chat)); err != nil {
			return Case{}, err
		}
	}
	q.MaxTokens = min(most, r.contextLength-len(ids))
	q.sampling(source, offer, r.vocabulary)
	if offer.Alternatives > 0 && chance(source, 0.5) {
		q.Logprobs = true
		q.Alternatives = 1 + source.IntN(offer.Alternatives)
	}
	q.LogitsHash = offer.LogitsHash && chance(source, 0.5)
	q.Stream = chance(source, 0.5)
	chosen, err := r.run(ids, q)
	if err != nil {
		return Case{}, fmt.Errorf("%s: %w", Name(Kind, seed, index), err)
	}
	if chance(source, longCases) && len(ids) <= longAfter {
		if q, chosen, err = r.lengthen(source, ids, q, chosen, offer); err != nil {
			return Case{}, fmt.Errorf("%s: %w", Name(Kind, seed, index), err)
		}
	}
	if offer.Stop > 0 && chance(source, 0.35) {
		q.Stop = r.stops(source, chosen.tokens, offer.Stop)
	}
	return Case{Request: q, IDs: ids, Want: r.want(ids, q, chosen)}, nil
}

const (
	longCases = 0.1 // of all cases
	longest   = 160 // tokens of a long answer
	longTries = 40  // enough for a model of haiku that cannot be rewarded for repeating itself
	longAfter = 128 // tokens of the prompt, at most: each try reads it again
)

// lengthen looks for settings under which the answer is long: models like to end early, and what goes wrong late shows in long
// answers only. The longest of a few draws is kept, and sometimes cut by the number of tokens asked for.
func (r *Reference) lengthen(source *rand.Rand, ids []int32, q Request, chosen trace, offer Offer) (Request, trace, error) {
	room := min(longest, offer.MaxTokens, r.contextLength-len(ids))
	enough := room * 3 / 4
	for try := 0; try < longTries && len(chosen.tokens) < enough; try++ {
		candidate := q
		candidate.MaxTokens, candidate.SamplingSeed = room, samplingSeed(source, offer.SeedBits)
		candidate.Temperature, candidate.TopP, candidate.TopK, candidate.MinP = typed(source, 1.2, 2), 1, 0, 0
		if offer.RepetitionPenalty { // below 1, it rewards what was said before
			candidate.RepetitionPenalty = typed(source, 0.05, 0.5)
		}
		next, err := r.run(ids, candidate)
		if err != nil {
			return q, chosen, err
		}
		if len(next.tokens) > len(chosen.tokens) {
			q, chosen = candidate, next
		}
	}
	if n := len(chosen.tokens); n > 1 && chance(source, 0.4) {
		q.MaxTokens = n/2 + source.IntN(n-n/2)
	}
	return q, chosen, nil
}

// maxStopTokens is the longest stop string that workers are asked to take.
const maxStopTokens = 32

// stops cuts stop strings out of the answer to come; some others never come.
func (r *Reference) stops(source *rand.Rand, chosen []int32, most int) []string {
	text := []rune(r.tokens.Text(chosen, true))
	var out []string
	for range 1 + source.IntN(most) {
		stop := words(source, 1+source.IntN(2))
		if len(text) > 0 && chance(source, 0.7) {
			from := source.IntN(len(text))
			stop = string(text[from:min(len(text), from+1+source.IntN(6))])
			if chance(source, 0.3) { // in other letters it is another text
				stop = otherCase(stop)
			}
		}
		if ids, err := r.tokens.Encode(stop); err == nil && stop != "" && len(ids) <= maxStopTokens && !slices.Contains(out, stop) {
			out = append(out, stop)
		}
	}
	return out
}

// otherCase exchanges capitals and small letters.
func otherCase(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsUpper(r) {
			return unicode.ToLower(r)
		}
		return unicode.ToUpper(r)
	}, text)
}

// want is the answer that what the reference chose makes.
func (r *Reference) want(ids []int32, q Request, chosen trace) Answer {
	e := finish(r.tokens, chosen.tokens, q.MaxTokens, q.Stop)
	a := Answer{PromptTokens: len(ids), CompletionTokens: e.tokens, Tokens: slices.Clone(chosen.tokens[:e.tokens]), Text: e.text,
		FinishReason: e.reason, StopSequence: e.stop, TextOffsets: e.offsets, Pieces: []string{}}
	for i := range e.tokens {
		a.Pieces = append(a.Pieces, piece(r.tokens, chosen.tokens[i]))
		if q.Logprobs {
			a.Logprobs = append(a.Logprobs, chosen.logprobs[i])
			a.Top = append(a.Top, r.alternatives(q, chosen, i))
		}
	}
	if q.LogitsHash {
		a.LogitsSHA256 = chosen.chains[e.steps-1]
	}
	return a
}

func (r *Reference) alternatives(q Request, chosen trace, i int) []Alternative {
	out := []Alternative{}
	for _, top := range chosen.top[i][:min(q.Alternatives, len(chosen.top[i]))] {
		out = append(out, Alternative{ID: top.Token, Text: piece(r.tokens, top.Token), Logprob: float64(top.Logprob)})
	}
	return out
}

// String tells a case in a line.
func (c Case) String() string {
	return fmt.Sprintf("%s: %d + %d tokens, temperature %v, stops %s", c.Name(), len(c.IDs), c.MaxTokens, c.Temperature,
		strings.Join(c.Stop, "|"))
}
