package tokenizer

import (
	"errors"
	"fmt"
	"slices"

	"touchstone/native/gguf"
)

// tokenType is the type of a token; the values are those of tokenizer.ggml.token_type.
type tokenType int32

const (
	typeNormal      tokenType = 1
	typeUnknown     tokenType = 2
	typeControl     tokenType = 3
	typeUserDefined tokenType = 4
	typeUnused      tokenType = 5
	typeByte        tokenType = 6
)

// maxTokens bounds the vocabulary.
const maxTokens = 1 << 20

// noToken stands for an id that is not set.
const noToken = int32(-1)

// endOfTextNames are the names under which model families have tokens that end a text or a turn.
var endOfTextNames = []string{
	"<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|eot|>",
	"<end_of_turn>", "<end_of_utterance>", "</s>", "<eos>", "<EOT>", "<｜end▁of▁sentence｜>",
}

// vocabulary is what both kinds of tokenizer have in common.
type vocabulary struct {
	names          []string // as the file spells the tokens
	pieces         []string // as text
	types          []tokenType
	bos, eos, unk  int32
	before, after  []int32 // what Options.AddSpecial adds
	endOfText      map[int32]bool
	special        specialTokens
	prependsASpace bool
}

// vocabularyFromGGUF reads tokens and special ids; pieces are left to the caller.
func vocabularyFromGGUF(f *gguf.File) (*vocabulary, error) {
	names, err := f.Strings("tokenizer.ggml.tokens")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 || len(names) > maxTokens {
		return nil, fmt.Errorf("tokenizer.ggml.tokens has %d tokens (1 to %d are allowed); convert the model again", len(names), maxTokens)
	}
	v := &vocabulary{names: names, types: make([]tokenType, len(names)), endOfText: map[int32]bool{}}
	types, err := f.Ints("tokenizer.ggml.token_type")
	switch {
	case errors.Is(err, gguf.ErrMissingKey):
		for i := range v.types {
			v.types[i] = typeNormal
		}
	case err != nil:
		return nil, err
	case len(types) != len(names):
		return nil, fmt.Errorf("tokenizer.ggml.token_type has %d entries for %d tokens; convert the model again", len(types), len(names))
	default:
		for i, t := range types {
			v.types[i] = tokenType(t)
		}
	}
	for _, special := range []struct {
		key string
		id  *int32
	}{{"bos", &v.bos}, {"eos", &v.eos}, {"unknown", &v.unk}} {
		if *special.id, err = v.idFromGGUF(f, "tokenizer.ggml."+special.key+"_token_id"); err != nil {
			return nil, err
		}
	}
	for _, key := range []string{"eot", "eom"} {
		id, err := v.idFromGGUF(f, "tokenizer.ggml."+key+"_token_id")
		if err != nil {
			return nil, err
		}
		v.endOfText[id] = true
	}
	return v, nil
}

// idFromGGUF reads an optional token id; it is noToken if the key is missing.
func (v *vocabulary) idFromGGUF(f *gguf.File, key string) (int32, error) {
	id, err := f.Uint64(key)
	if errors.Is(err, gguf.ErrMissingKey) {
		return noToken, nil
	}
	if err != nil {
		return noToken, err
	}
	if id >= uint64(len(v.names)) {
		return noToken, fmt.Errorf("%s is %d, but there are %d tokens; convert the model again", key, id, len(v.names))
	}
	return int32(id), nil
}

// addedFromGGUF settles what Options.AddSpecial adds; byDefault says whether BOS is added where the file does not tell.
func (v *vocabulary) addedFromGGUF(f *gguf.File, byDefault bool) error {
	for _, added := range []struct {
		key    string
		id     int32
		wanted bool
		list   *[]int32
	}{{"bos", v.bos, byDefault, &v.before}, {"eos", v.eos, false, &v.after}} {
		key := "tokenizer.ggml.add_" + added.key + "_token"
		wanted, err := f.Bool(key)
		if errors.Is(err, gguf.ErrMissingKey) {
			wanted, err = added.wanted && added.id != noToken, nil
		}
		if err != nil {
			return err
		}
		if wanted && added.id == noToken {
			return fmt.Errorf("%s is true, but tokenizer.ggml.%s_token_id is missing; convert the model again", key, added.key)
		}
		if wanted {
			*added.list = []int32{added.id}
		}
	}
	return nil
}

// finish completes the vocabulary once names, types and pieces are there.
func (v *vocabulary) finish() error {
	v.endOfText[v.eos] = true
	for i, name := range v.names {
		if v.types[i] != typeControl && v.types[i] != typeUserDefined {
			continue
		}
		if slices.Contains(endOfTextNames, name) {
			v.endOfText[int32(i)] = true
		}
		if err := v.special.add(name, int32(i)); err != nil {
			return err
		}
	}
	delete(v.endOfText, noToken)
	return nil
}

func (v *vocabulary) exists(id int32) bool { return id >= 0 && int(id) < len(v.names) }

func (v *vocabulary) Piece(id int32) []byte {
	if !v.exists(id) {
		return nil
	}
	return []byte(v.pieces[id])
}

func (v *vocabulary) IsControl(id int32) bool {
	return !v.exists(id) || v.types[id] == typeControl || v.types[id] == typeUnknown
}

func (v *vocabulary) VocabSize() int { return len(v.names) }

func (v *vocabulary) BOS() (int32, bool) { return v.bos, v.bos != noToken }

func (v *vocabulary) EOS() (int32, bool) { return v.eos, v.eos != noToken }

func (v *vocabulary) IsEndOfText(id int32) bool { return v.endOfText[id] }

func (v *vocabulary) spacePrefix() bool { return v.prependsASpace }

// encode splits special tokens out where asked for and leaves the text between them to encodeText, which appends ids.
func (v *vocabulary) encode(text string, options Options, encodeText func(ids []int32, text string) ([]int32, error)) ([]int32, error) {
	var ids []int32
	if options.AddSpecial {
		ids = append(ids, v.before...)
	}
	for whole := len(text); text != ""; {
		plain, id, rest := text, noToken, ""
		if options.ParseSpecial {
			offset := whole - len(text)
			plain, id, rest = v.special.cut(text, func(id int32, start, end int) bool {
				return v.types[id] == typeUserDefined || !options.isText(offset+start, offset+end)
			})
		}
		if plain != "" {
			var err error
			if ids, err = encodeText(ids, plain); err != nil {
				return nil, err
			}
		}
		if id != noToken {
			ids = append(ids, id)
		}
		text = rest
	}
	if options.AddSpecial {
		ids = append(ids, v.after...)
	}
	return ids, nil
}
