package expectation

import (
	"maps"
	"slices"
)

// Compare expects an answer to be the wanted one in every field that it has, bit for bit. The error is a *Divergence.
func (c Case) Compare(got Answer) error {
	want := c.Want
	differs := func(field string, at int, expected, actual any) error {
		return &Divergence{Case: c.Name(), Field: field, At: at, Expected: expected, Got: actual, Request: c.Request}
	}
	if got.PromptTokens != 0 && got.PromptTokens != want.PromptTokens {
		return differs("prompt_tokens", -1, want.PromptTokens, got.PromptTokens)
	}
	if got.Tokens != nil {
		if at := divergence(want.Tokens, got.Tokens); at >= 0 {
			return differs("tokens", at, want.Tokens, got.Tokens)
		}
	}
	if got.Pieces != nil {
		if at := divergence(want.Pieces, got.Pieces); at >= 0 {
			return differs("pieces", at, want.Pieces, got.Pieces)
		}
	}
	if got.Text != want.Text {
		return differs("text", divergence([]rune(want.Text), []rune(got.Text)), want.Text, got.Text)
	}
	if got.FinishReason != "" && !sameReason(want.FinishReason, got.FinishReason) {
		return differs("finish_reason", -1, want.FinishReason, got.FinishReason)
	}
	if got.StopSequence != "" && got.StopSequence != want.StopSequence {
		return differs("stop_sequence", -1, want.StopSequence, got.StopSequence)
	}
	if (got.CompletionTokens != 0 || want.CompletionTokens == 0) && got.CompletionTokens != want.CompletionTokens {
		return differs("completion_tokens", -1, want.CompletionTokens, got.CompletionTokens)
	}
	if got.Logprobs != nil {
		if at := divergence(want.Logprobs, got.Logprobs); at >= 0 {
			return differs("logprobs", at, want.Logprobs, got.Logprobs)
		}
	}
	if got.Top != nil {
		if at := divergenceFunc(want.Top, got.Top, sameAlternatives); at >= 0 {
			return differs("top_logprobs", at, element(want.Top, at), element(got.Top, at))
		}
	}
	if got.TopByText != nil {
		if at := divergenceFunc(want.topByText(), got.TopByText, maps.Equal[map[string]float64]); at >= 0 {
			return differs("top_logprobs", at, element(want.topByText(), at), element(got.TopByText, at))
		}
	}
	if got.TextOffsets != nil {
		if at := divergence(want.TextOffsets, got.TextOffsets); at >= 0 {
			return differs("text_offsets", at, want.TextOffsets, got.TextOffsets)
		}
	}
	if got.LogitsSHA256 != "" && want.LogitsSHA256 != "" && got.LogitsSHA256 != want.LogitsSHA256 {
		return differs("logits_sha256", -1, want.LogitsSHA256, got.LogitsSHA256)
	}
	return nil
}

// divergence is the first place where two lists differ, -1 if they are equal.
func divergence[T comparable](want, got []T) int {
	return divergenceFunc(want, got, func(a, b T) bool { return a == b })
}

func divergenceFunc[T any](want, got []T, same func(want, got T) bool) int {
	for i := range min(len(want), len(got)) {
		if !same(want[i], got[i]) {
			return i
		}
	}
	if len(want) != len(got) {
		return min(len(want), len(got))
	}
	return -1
}

func element[T any](list []T, at int) any {
	if at < len(list) {
		return list[at]
	}
	return "nothing"
}

func sameAlternatives(want, got []Alternative) bool {
	return slices.EqualFunc(want, got, func(a, b Alternative) bool {
		return a.Logprob == b.Logprob && (b.ID < 0 || a.ID == b.ID) && (b.Text == "" || a.Text == b.Text)
	})
}

// topByText are the alternatives as maps from their texts: of equal texts the likeliest stands.
func (a Answer) topByText() []map[string]float64 {
	out := []map[string]float64{}
	for _, alternatives := range a.Top {
		texts := map[string]float64{}
		for _, alternative := range alternatives {
			if _, seen := texts[alternative.Text]; !seen {
				texts[alternative.Text] = alternative.Logprob
			}
		}
		out = append(out, texts)
	}
	return out
}
