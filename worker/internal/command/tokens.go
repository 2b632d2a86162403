package command

import (
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
	return tokenizer.NewStream(t.Tokenizer, true)
}

// control gives the name of a control token if the model has it.
func (t *tokens) control(id int32, ok bool) string {
	if !ok {
		return ""
	}
	return string(t.Piece(id))
}
