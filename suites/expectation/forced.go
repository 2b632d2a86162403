package expectation

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"touchstone/suites/internal/sampling"
)

// Bound is what a logit of another implementation may differ from the reference's, as a fraction of the root mean square of the
// position's logits.
type Bound float64

// The bounds by kind of weights, twice those that DET-01 derives for this library against an oracle in float32, since here two
// implementations may err: 2^-9 where weights are floats, 3 x 2^-6 where they and the activations are quantised.
const (
	FloatBound     Bound = 2 * 0x1p-9
	QuantisedBound Bound = 2 * 3 * 0x1p-6
)

// ErrUnidentified says that the tokens of an answer cannot be known from what the protocol tells.
var ErrUnidentified = errors.New("the tokens of the answer are not told, and their texts fit several")

// Force judges the answer of a worker that has the same weights and numerics of its own. The reference evaluates the tokens that
// the worker chose: greedy tokens must lie within the bound of the maximum, log-probabilities and alternatives within it of the
// reference's; sampled tokens are returned, for Draws.Test over all cases of a run. What follows from the tokens alone (text, reason
// to stop, counts) must be exact. The error is a *Divergence, or wraps ErrUnidentified.
func (r *Reference) Force(c Case, got Answer, bound Bound) (Draws, error) {
	chosen, err := r.identify(got)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name(), err)
	}
	if err := r.forceText(c, got, chosen); err != nil {
		return nil, err
	}
	logits, err := r.evaluate(c.IDs, chosen)
	if err != nil {
		return nil, err
	}
	f := forcing{r: r, c: c, bound: float64(bound)}
	source := Random(c.Seed, -2-c.Index)
	history := slices.Clone(c.IDs)
	for i, token := range chosen {
		if err := f.token(i, token, logits[i], history, source.Float64()); err != nil {
			return nil, err
		}
		if got.Logprobs != nil {
			if err := f.logprobs(i, token, got, logits[i]); err != nil {
				return nil, err
			}
		}
		history = append(history, token)
	}
	if sameReason(EndOfText, got.FinishReason) && r.endedByItself(c, got, chosen) {
		if err := f.end(len(chosen), logits[len(chosen)], history); err != nil {
			return nil, err
		}
	}
	return f.draws, nil
}

// identify gives the tokens of an answer, from their texts if need be.
func (r *Reference) identify(got Answer) ([]int32, error) {
	if got.Tokens != nil || got.Pieces == nil {
		return got.Tokens, nil
	}
	var out []int32
	for i, text := range got.Pieces {
		found := int32(-1)
		for id := range int32(r.tokens.Size()) {
			if !r.tokens.Shows(id) || piece(r.tokens, id) != text {
				continue
			}
			if found >= 0 {
				return nil, fmt.Errorf("token %d, %q: %w", i, text, ErrUnidentified)
			}
			found = id
		}
		if found < 0 {
			return nil, fmt.Errorf("token %d, %q, is not in the vocabulary: %w", i, text, ErrUnidentified)
		}
		out = append(out, found)
	}
	return out, nil
}

// forceText checks what follows from the worker's own tokens.
func (r *Reference) forceText(c Case, got Answer, chosen []int32) error {
	differs := func(field string, expected, actual any) error {
		return &Divergence{Case: c.Name(), Field: field, At: -1, Expected: expected, Got: actual, Note: "for the worker's own tokens",
			Request: c.Request}
	}
	if got.PromptTokens != 0 && got.PromptTokens != len(c.IDs) {
		return differs("prompt_tokens", len(c.IDs), got.PromptTokens)
	}
	if len(chosen) > c.MaxTokens {
		return differs("completion_tokens", c.MaxTokens, len(chosen))
	}
	if got.CompletionTokens != 0 && got.CompletionTokens != len(chosen) {
		return differs("completion_tokens", len(chosen), got.CompletionTokens)
	}
	for _, token := range chosen {
		if token < 0 || int(token) >= r.vocabulary || r.tokens.EndsText(token) {
			return differs("tokens", "tokens of the vocabulary that do not end a text", token)
		}
	}
	e := finish(r.tokens, chosen, c.MaxTokens, c.Stop)
	if e.reason == "" { // an end of text came, or the answer stopped for no reason that its tokens tell
		e.reason, e.text = EndOfText, r.tokens.Text(chosen, true)
		if stop, at := firstStop(e.text, c.Stop); at >= 0 {
			e.reason, e.text = StopSequence, e.text[:at]
			e.stop = stop
		}
	} else if e.tokens != len(chosen) {
		return differs("completion_tokens", e.tokens, len(chosen))
	}
	if got.FinishReason != "" && !sameReason(e.reason, got.FinishReason) {
		return differs("finish_reason", e.reason, got.FinishReason)
	}
	if got.Text != e.text {
		return differs("text", e.text, got.Text)
	}
	return nil
}

// endedByItself tells whether an answer ended by a token that ends a text, which is not among its tokens.
func (r *Reference) endedByItself(c Case, got Answer, chosen []int32) bool {
	return len(chosen) < c.MaxTokens && finish(r.tokens, chosen, c.MaxTokens, c.Stop).reason == "" && got.FinishReason != ""
}

// forcing judges one answer token by token.
type forcing struct {
	r     *Reference
	c     Case
	bound float64
	draws Draws
}

// allowance is what a logit of the position may be off.
func (f *forcing) allowance(logits []float32) float64 {
	sum := 0.0
	for _, logit := range logits {
		sum += float64(logit) * float64(logit)
	}
	return f.bound * math.Sqrt(sum/float64(len(logits)))
}

func (f *forcing) differs(field string, at int, expected, got any, note string) error {
	return &Divergence{Case: f.c.Name(), Field: field, At: at, Expected: expected, Got: got, Note: note, Request: f.c.Request}
}

// token judges the choice of a token.
func (f *forcing) token(i int, token int32, logits []float32, history []int32, within float64) error {
	s := f.c.settings(len(history))
	allowed := f.allowance(logits)
	scaled := sampling.Scaled(s, logits, history)
	if s.Temperature == 0 {
		best := sampling.Order(scaled)[0]
		most := 2 * allowed * f.penaltyFactor()
		if margin := scaled[best] - scaled[token]; margin > most {
			return f.differs("tokens", i, best, token,
				fmt.Sprintf("greedy: the reference's logit of it is %.4g below the largest, the bound %.4g", margin, most))
		}
		return nil
	}
	f.draws = append(f.draws, f.draw(s, token, logits, history, allowed, within))
	if last := f.draws[len(f.draws)-1]; last.Impossible != "" {
		return f.differs("tokens", i, "a token that the filters keep", token, last.Impossible)
	}
	return nil
}

// penaltyFactor is how much the repetition penalty may enlarge an error of a logit.
func (f *forcing) penaltyFactor() float64 {
	return math.Max(1, math.Max(f.c.RepetitionPenalty, 1/f.c.RepetitionPenalty))
}

// draw makes a draw of a sampled token.
func (f *forcing) draw(s sampling.Settings, token int32, logits []float32, history []int32, allowed, within float64) Draw {
	d := newDistribution(s, logits, history)
	off := 2 * allowed * f.penaltyFactor() / s.Temperature // of a difference of two scaled logits
	out := Draw{Case: f.c.Name(), Position: len(history), Token: token, Within: within, Uncertain: math.Min(1, math.Expm1(2*off)),
		Groups: d.groups(s)}
	out.Low, out.High = d.part(token)
	if out.High == out.Low {
		out.Impossible = excluded(s, sampling.Scaled(s, logits, history), token, off)
	}
	return out
}

// excluded says which filter drops a token even if every difference of scaled logits may be off by so much; "" if none does.
func excluded(s sampling.Settings, scaled []float64, token int32, off float64) string {
	ranked := sampling.Order(scaled)
	largest := scaled[ranked[0]]
	own := scaled[token]
	if weight := math.Exp(own - largest + off); weight < s.MinP*(1-1e-6) {
		return fmt.Sprintf("min_p %v, but it has %.4g of the largest probability", s.MinP, math.Exp(own-largest))
	}
	if s.TopK > 0 && s.TopK < len(ranked) {
		if last := scaled[ranked[s.TopK-1]]; own+off < last {
			return fmt.Sprintf("top_k %d, but its rank is %d", s.TopK, slices.Index(ranked, int(token))+1)
		}
		ranked = ranked[:s.TopK]
	}
	var above, total float64
	for _, id := range ranked {
		weight := math.Exp(scaled[id] - largest)
		total += weight
		if scaled[id] > own+off {
			above += weight
		}
	}
	if mass := above / total * math.Exp(-2*off); s.TopP < 1 && mass > s.TopP*(1+1e-6) {
		return fmt.Sprintf("top_p %v, but likelier tokens have %.4g already", s.TopP, above/total)
	}
	return ""
}

// logprobs judges the log-probabilities of one token.
func (f *forcing) logprobs(i int, token int32, got Answer, logits []float32) error {
	allowed := 2*f.allowance(logits) + logprobBound
	if i >= len(got.Logprobs) {
		return f.differs("logprobs", i, "a log-probability for every token", len(got.Logprobs), "")
	}
	if want := logprob(logits, token); !(math.Abs(got.Logprobs[i]-want) <= allowed*(1+math.Abs(want)*0x1p-20)) {
		return f.differs("logprobs", i, want, got.Logprobs[i], fmt.Sprintf("the bound is %.4g", allowed))
	}
	if got.Top == nil {
		return nil
	}
	if i >= len(got.Top) {
		return f.differs("top_logprobs", i, "alternatives for every token", len(got.Top), "")
	}
	scaled := make([]float64, len(logits))
	for id, logit := range logits {
		scaled[id] = float64(logit)
	}
	ranked := sampling.Order(scaled)
	count := min(f.c.Alternatives, len(ranked))
	if len(got.Top[i]) < count {
		return f.differs("top_logprobs", i, count, len(got.Top[i]), "alternatives are missing")
	}
	for k, alternative := range got.Top[i][:count] {
		want := logprob(logits, int32(ranked[k]))
		if !(math.Abs(alternative.Logprob-want) <= allowed) {
			return f.differs("top_logprobs", i, Alternative{int32(ranked[k]), piece(f.r.tokens, int32(ranked[k])), want}, alternative,
				fmt.Sprintf("alternative %d; the bound is %.4g", k, allowed))
		}
		if id := alternative.ID; id >= 0 {
			if int(id) >= len(logits) || math.Abs(logprob(logits, id)-alternative.Logprob) > allowed {
				return f.differs("top_logprobs", i, want, alternative, fmt.Sprintf("alternative %d: not this token's log-probability", k))
			}
		}
	}
	return nil
}

// end judges that the text ended: some token that ends a text must have been a possible choice.
func (f *forcing) end(at int, logits []float32, history []int32) error {
	var refused error
	for id := range int32(len(logits)) {
		if !f.r.tokens.EndsText(id) {
			continue
		}
		one := forcing{r: f.r, c: f.c, bound: f.bound}
		err := one.token(at, id, logits, history, 0.5)
		if err == nil {
			return nil
		}
		refused = err
	}
	if refused == nil {
		return f.differs("finish_reason", -1, "no end: the vocabulary has no token that ends a text", EndOfText, "")
	}
	return refused
}

// Chance is the probability that a worker of the reference's distribution draws exactly these tokens for a case. Two requests that
// differ in their seed alone and get the same answer, time and again, ignore what differs: the product of the chances says how
// sure that is.
func (r *Reference) Chance(c Case, chosen []int32) (float64, error) {
	logits, err := r.evaluate(c.IDs, chosen)
	if err != nil {
		return 0, err
	}
	chance := 1.0
	history := slices.Clone(c.IDs)
	for i, token := range chosen {
		chance *= sampling.Distribution(c.settings(len(history)), logits[i], history).Probabilities[token]
		history = append(history, token)
	}
	return chance, nil
}
