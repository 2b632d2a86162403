package fake

import (
	"slices"
	"strings"
	"unicode/utf8"

	"touchstone/worker/engine"
)

// Tokenizer has one token a byte.
type Tokenizer struct{}

// Encode gives the begin-of-text token and the bytes of text; with special, "<end>" is the end-of-text token.
func (t Tokenizer) Encode(text string, special bool) ([]int32, error) {
	if special {
		return t.EncodePrompt(text, nil)
	}
	return t.EncodePrompt(text, [][2]int{{0, len(text)}})
}

// EncodePrompt takes "<end>" for the end-of-text token where it is not within said.
func (Tokenizer) EncodePrompt(text string, said [][2]int) ([]int32, error) {
	ids := []int32{BeginOfText}
	for at := 0; at < len(text); {
		within := slices.ContainsFunc(said, func(span [2]int) bool { return at < span[1] && at+len("<end>") > span[0] })
		if strings.HasPrefix(text[at:], "<end>") && !within {
			ids, at = append(ids, EndOfText), at+len("<end>")
			continue
		}
		ids, at = append(ids, int32(text[at])), at+1
	}
	return ids, nil
}

// Count is the number of bytes.
func (Tokenizer) Count(text string) (int, error) { return len(text), nil }

// Piece is the byte, and nothing for the control tokens.
func (Tokenizer) Piece(id int32) []byte {
	if id >= BeginOfText {
		return nil
	}
	return []byte{byte(id)}
}

// IsControl knows the tokens that are no bytes.
func (Tokenizer) IsControl(id int32) bool { return id >= BeginOfText }

// IsEndOfText knows the end-of-text token.
func (Tokenizer) IsEndOfText(id int32) bool { return id == EndOfText }

// NewDecoder starts a decoder.
func (Tokenizer) NewDecoder() engine.Decoder { return &decoder{} }

type decoder struct{ pending []byte }

// Push gives the characters that are complete.
func (d *decoder) Push(id int32) string {
	d.pending = append(d.pending, Tokenizer{}.Piece(id)...)
	var text []byte
	for len(d.pending) > 0 && utf8.FullRune(d.pending) {
		r, size := utf8.DecodeRune(d.pending)
		text = utf8.AppendRune(text, r)
		d.pending = d.pending[size:]
	}
	return string(text)
}

// Held tells whether bytes of a character are waiting.
func (d *decoder) Held() bool { return len(d.pending) > 0 }

// Flush gives U+FFFD for an incomplete character.
func (d *decoder) Flush() string {
	text := strings.ToValidUTF8(string(d.pending), "\uFFFD")
	d.pending = nil
	return text
}
