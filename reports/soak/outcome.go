package soak

import (
	"fmt"
	"slices"
	"strconv"
)

// Outcome is what a request produced. What an executor cannot know stays empty: tokens of a worker that sends text only,
// the text of the native route.
type Outcome struct {
	Tokens       []int32   `json:"tokens,omitempty"`
	Logprobs     []float64 `json:"logprobs,omitempty"` // of the chosen tokens, natural logarithms
	LogitsSHA256 string    `json:"logitsSha256,omitempty"`
	StopReason   string    `json:"stopReason"`
	Pieces       []string  `json:"pieces,omitempty"` // the text as it came, token by token
}

// SHA256 names everything but the text.
func (o Outcome) SHA256() string {
	o.Pieces = nil
	return digest(o)
}

// TextSHA256 names the text; empty if it is not known.
func (o Outcome) TextSHA256() string {
	if o.Pieces == nil {
		return ""
	}
	return digest(o.Pieces)
}

// Steps is how many tokens, or pieces of text where tokens are not known, there are.
func (o Outcome) Steps() int {
	if len(o.Tokens) > 0 {
		return len(o.Tokens)
	}
	return len(o.Pieces)
}

// Flip is the outcome with another token, or another piece of text where tokens are not known, at a step below Steps.
func (o Outcome) Flip(step int) Outcome {
	if len(o.Tokens) > 0 {
		o.Tokens = slices.Clone(o.Tokens)
		o.Tokens[step] ^= 1
		return o
	}
	o.Pieces = slices.Clone(o.Pieces)
	o.Pieces[step] += "~"
	return o
}

// Difference says where an outcome first differs from its reference.
type Difference struct {
	What string `json:"what"` // "token", "logprob", "length", "text", "stop reason" or "logits"
	Step int    `json:"step"` // from 0; -1 where it cannot be told
	Want string `json:"want"`
	Got  string `json:"got"`
	// Logprobs of the step, where both are known.
	WantLogprob *float64 `json:"wantLogprob,omitempty"`
	GotLogprob  *float64 `json:"gotLogprob,omitempty"`
}

// String is the difference in one line.
func (d Difference) String() string {
	text := fmt.Sprintf("%s: want %s, got %s", d.What, d.Want, d.Got)
	if d.Step >= 0 {
		text = fmt.Sprintf("step %d: %s", d.Step, text)
	}
	if d.What != "logprob" && d.WantLogprob != nil && d.GotLogprob != nil {
		text += fmt.Sprintf(" (logprob %v, %v)", *d.WantLogprob, *d.GotLogprob)
	}
	return text
}

// Compare gives the first difference, nil if there is none. Pieces are compared where both outcomes have them. The hash of
// the logits covers every step, so that logits which differ without changing a chosen token are seen too.
func Compare(want, got Outcome) *Difference {
	found := firstStep(want, got)
	switch {
	case found != nil:
	case len(want.Tokens) != len(got.Tokens) || len(want.Logprobs) != len(got.Logprobs):
		step := min(len(want.Tokens), len(got.Tokens))
		found = &Difference{What: "length", Step: step, Want: count(want), Got: count(got)}
	case want.Pieces != nil && got.Pieces != nil && !slices.Equal(want.Pieces, got.Pieces):
		step := commonPrefix(want.Pieces, got.Pieces)
		found = &Difference{What: "text", Step: step, Want: at(want.Pieces, step), Got: at(got.Pieces, step)}
	case want.StopReason != got.StopReason:
		found = &Difference{What: "stop reason", Step: -1, Want: want.StopReason, Got: got.StopReason}
	case want.LogitsSHA256 != got.LogitsSHA256:
		found = &Difference{What: "logits", Step: -1, Want: "sha256 " + want.LogitsSHA256, Got: "sha256 " + got.LogitsSHA256}
	default:
		return nil
	}
	if s := found.Step; s >= 0 && s < len(want.Logprobs) && s < len(got.Logprobs) {
		found.WantLogprob, found.GotLogprob = &want.Logprobs[s], &got.Logprobs[s]
	}
	return found
}

// firstStep looks at the steps that both have.
func firstStep(want, got Outcome) *Difference {
	for step := range max(len(want.Tokens), len(want.Logprobs)) {
		if step < len(want.Tokens) && step < len(got.Tokens) && want.Tokens[step] != got.Tokens[step] {
			return &Difference{What: "token", Step: step, Want: strconv.Itoa(int(want.Tokens[step])), Got: strconv.Itoa(int(got.Tokens[step]))}
		}
		if step < len(want.Logprobs) && step < len(got.Logprobs) && want.Logprobs[step] != got.Logprobs[step] {
			return &Difference{What: "logprob", Step: step, Want: fmt.Sprint(want.Logprobs[step]), Got: fmt.Sprint(got.Logprobs[step])}
		}
	}
	return nil
}

func count(o Outcome) string { return fmt.Sprintf("%d tokens", max(len(o.Tokens), len(o.Logprobs))) }

func commonPrefix(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func at(pieces []string, step int) string {
	if step >= len(pieces) {
		return "nothing"
	}
	return strconv.Quote(pieces[step])
}
