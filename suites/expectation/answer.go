package expectation

import (
	"strings"
	"unicode/utf8"

	"touchstone/suites/internal/tokens"
)

// Reasons to stop. A protocol that tells less says "stop" for the last two or "length" for the first.
const (
	MaxTokens    = "max_tokens"
	EndOfText    = "end_of_text"
	StopSequence = "stop_sequence"
)

// Answer is what a worker answered, or must answer. What a protocol does not tell is nil, 0 or empty, and is not compared.
type Answer struct {
	PromptTokens     int      // as counted by the worker
	CompletionTokens int      // likewise; the token that ended the text is not counted
	Tokens           []int32  // without the one that ended the text
	Pieces           []string // texts of the tokens by themselves, U+FFFD for parts of characters
	Text             string
	FinishReason     string
	StopSequence     string
	Logprobs         []float64            // natural, under the unmodified logits
	Top              [][]Alternative      // for each token, the likeliest first
	TopByText        []map[string]float64 // likewise, where a protocol lists texts without an order
	TextOffsets      []int                // characters of text before each token
	LogitsSHA256     string               // chain over the logits of all chosen tokens, the one that ended the text included
}

// Alternative is a likely token. ID is -1 where a protocol gives its text alone.
type Alternative struct {
	ID      int32   `json:"id"`
	Text    string  `json:"text"`
	Logprob float64 `json:"logprob"`
}

// piece is the text of a token by itself.
func piece(t *tokens.Tokenizer, id int32) string {
	return strings.ToValidUTF8(string(t.Piece(id)), "\uFFFD")
}

// ending is where an answer stops, and what it shows until there.
type ending struct {
	tokens  int // that count
	steps   int // tokens chosen, the one that ended the text included
	reason  string
	stop    string
	text    string
	offsets []int
}

// finish applies the rules of stopping to the tokens in the order in which they were chosen. They may go on beyond the end.
//
// A stop string counts from the first token that completes it, the longest of those that end at the same character, and the text
// ends before it. An offset is where a token stands in the text, whether or not that text is held back for a stop string to come.
func finish(t *tokens.Tokenizer, chosen []int32, maxTokens int, stops []string) ending {
	var e ending
	for i, id := range chosen {
		e.steps = i + 1
		ended := t.EndsText(id)
		if !ended {
			e.offsets = append(e.offsets, utf8.RuneCountInString(t.Text(chosen[:i], false)))
			e.tokens++
		}
		last := ended || e.tokens == maxTokens
		text := t.Text(chosen[:e.tokens], false)
		if stop, at := firstStop(text, stops); at >= 0 && !ended {
			e.reason, e.stop, e.text = StopSequence, stop, text[:at]
			return e
		}
		if last {
			e.text = t.Text(chosen[:e.tokens], true)
			if stop, at := firstStop(e.text, stops); at >= 0 {
				e.reason, e.stop, e.text = StopSequence, stop, e.text[:at]
			} else if e.reason = MaxTokens; ended {
				e.reason = EndOfText
			}
			return e
		}
	}
	e.text = t.Text(chosen, false)
	return e
}

// firstStop finds the stop string that ends first, the longest of those that end together; at is -1 if there is none.
func firstStop(text string, stops []string) (stop string, at int) {
	at = -1
	end := len(text) + 1
	for _, candidate := range stops {
		i := strings.Index(text, candidate)
		if i < 0 {
			continue
		}
		if last := i + len(candidate); last < end || last == end && len(candidate) > len(stop) {
			stop, at, end = candidate, i, last
		}
	}
	return stop, at
}

// sameReason compares reasons in the words of either protocol.
func sameReason(want, got string) bool {
	switch got {
	case "length":
		return want == MaxTokens
	case "stop":
		return want != MaxTokens
	case "context_full":
		return want == MaxTokens
	}
	return want == got
}
