// Package tokenizer turns text into token ids and back: byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) and
// SentencePiece BPE by score with byte fallback (Kudo and Richardson 2018), from GGUF metadata or a Hugging Face
// tokenizer.json.
package tokenizer

import (
	"fmt"
	"sort"

	"touchstone/native/gguf"
)

// A Tokenizer turns text into token ids and back. It does not change; all methods may be called from any goroutine.
type Tokenizer interface {
	// Encode gives the ids of text. It fails only if the vocabulary has no token for a part of the text and no unknown token.
	Encode(text string, options Options) ([]int32, error)
	// Decode gives the text of a whole sequence: without control tokens, without the space that SentencePiece puts before
	// a text, U+FFFD in place of bytes that are not UTF-8. Ids that do not exist count as control tokens.
	Decode(ids []int32) string
	// Piece gives the bytes of one token, which may be part of a character; for control tokens their name. It is nil for ids
	// that do not exist. The caller may keep and change it.
	Piece(id int32) []byte
	// IsControl tells whether the token is left out of decoded text: control and unknown tokens and ids that do not exist.
	IsControl(id int32) bool
	// VocabSize is the number of tokens; ids go from 0 to VocabSize()-1.
	VocabSize() int
	// Kind is "bpe" or "spm".
	Kind() string
	// BOS is the token that begins a sequence, if there is one.
	BOS() (id int32, ok bool)
	// EOS is the token that ends a sequence, if there is one.
	EOS() (id int32, ok bool)
	// IsEndOfText tells whether generation ends with this token: end of sequence, of turn or of message.
	IsEndOfText(id int32) bool

	// spacePrefix tells whether encoding puts a space before every text, which decoding takes away again.
	spacePrefix() bool
}

// Options say how to encode.
type Options struct {
	// AddSpecial adds the tokens that the model expects around a sequence (BOS, EOS).
	AddSpecial bool
	// ParseSpecial makes names of control and user-defined tokens in the text stand for those tokens. Otherwise they are
	// plain text, and encoding never gives a control token for it.
	ParseSpecial bool
	// Text holds byte ranges, in order, in which ParseSpecial finds no control tokens: what somebody said in a chat. A name
	// that reaches into a range is not found either. User-defined tokens, which tokenizers match in any text, are found.
	Text [][2]int
}

// isText tells whether any of the bytes from start up to end must be text.
func (o *Options) isText(start, end int) bool {
	at := sort.Search(len(o.Text), func(i int) bool { return o.Text[i][1] > start })
	return at < len(o.Text) && o.Text[at][0] < end
}

// FromGGUF builds the tokenizer that a model file describes. The file may be closed afterwards.
func FromGGUF(f *gguf.File) (Tokenizer, error) {
	model, err := f.String("tokenizer.ggml.model")
	if err != nil {
		return nil, err
	}
	switch model {
	case "gpt2":
		return bpeFromGGUF(f)
	case "llama":
		return spmFromGGUF(f)
	}
	return nil, fmt.Errorf("tokenizer.ggml.model %q is not supported (gpt2 and llama are); use a model with one of these", model)
}
