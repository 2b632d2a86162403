package command

import (
	"unicode/utf8"

	"touchstone/worker/engine"
	"touchstone/worker/tokenizer"
)

// tokens is a model's tokenizer as the engine wants it.
type tokens struct{ tokenizer.Tokenizer }

// Encode gives the ids of text with what the model expects around it, once: a chat template may have written it already.
func (t *tokens) Encode(text string, special bool) ([]int32, error) {
	if special {
		return t.EncodePrompt(text, nil)
	}
	return t.Tokenizer.Encode(text, tokenizer.Options{AddSpecial: true})
}

// EncodePrompt gives the ids of a prompt, parts of which are text.
func (t *tokens) EncodePrompt(text string, said [][2]int) ([]int32, error) {
	options := tokenizer.Options{ParseSpecial: true, Text: said}
	if bos, ok := t.BOS(); ok {
		ids, err := t.Tokenizer.Encode(text, options)
		if err != nil || len(ids) > 0 && ids[0] == bos {
			return ids, err
		}
	}
	options.AddSpecial = true
	return t.Tokenizer.Encode(text, options)
}

// Count gives how many tokens text is by itself.
func (t *tokens) Count(text string) (int, error) {
	ids, err := t.Tokenizer.Encode(text, tokenizer.Options{})
	return len(ids), err
}

// NewDecoder decodes what follows a prompt.
func (t *tokens) NewDecoder() engine.Decoder {
	return &decoder{Stream: tokenizer.NewStream(t.Tokenizer, true), tokens: t}
}

// control gives the name of a control token if the model has it.
func (t *tokens) control(id int32, ok bool) string {
	if !ok {
		return ""
	}
	return string(t.Piece(id))
}

// decoder also knows whether its stream holds back part of a character.
type decoder struct {
	*tokenizer.Stream
	tokens *tokens
	tail   []byte // the last bytes, at most a character's
}

// Push takes a token and gives the text that is complete now.
func (d *decoder) Push(id int32) string {
	if !d.tokens.IsControl(id) {
		d.tail = append(d.tail, d.tokens.Piece(id)...)
		d.tail = d.tail[max(0, len(d.tail)-utf8.UTFMax):]
	}
	return d.Stream.Push(id)
}

// Held tells whether the last bytes begin a character that is not complete.
func (d *decoder) Held() bool {
	for n := 1; n < utf8.UTFMax && n <= len(d.tail); n++ {
		if last := d.tail[len(d.tail)-n:]; utf8.RuneStart(last[0]) {
			return !utf8.FullRune(last)
		}
	}
	return false
}
