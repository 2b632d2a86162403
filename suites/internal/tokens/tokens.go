// Package tokens is the harness's own tokenizer: text to token ids and back, by the vocabulary in a GGUF file.
//
// A worker's tokenizer is a thing under test, so the harness must not borrow it: an error in shared code would be in the
// expectation too. No Go library reads the vocabulary of a GGUF file exactly, so this is the plainest writing of the two
// published algorithms, byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) and SentencePiece BPE by score with byte
// fallback (Kudo and Richardson 2018): symbols in a list, merge the best pair, repeat. It is quadratic and shares no code with the
// worker's, which uses heaps and compiled expressions. The tests compare it with ids that Hugging Face tokenizers and llama.cpp gave.
package tokens

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"touchstone/native/gguf"
)

// Types of tokens in tokenizer.ggml.token_type.
const (
	typeUnknown = 2
	typeControl = 3
	typeUser    = 4
	typeByte    = 6
)

// endNames are what model families call the tokens that end a text or a turn.
var endNames = []string{
	"<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|eot|>",
	"<end_of_turn>", "<end_of_utterance>", "</s>", "<eos>", "<EOT>", "<｜end▁of▁sentence｜>",
}

// Tokenizer is the vocabulary of one model file. It does not change; any goroutine may use it.
type Tokenizer struct {
	names   []string
	types   []int64
	pieces  [][]byte
	before  []int32        // what a sequence begins with
	ends    map[int32]bool // tokens that end a text
	special []int32        // tokens whose names in a text stand for them, longest first
	encode  func(text string) ([]int32, error)
	chatML  bool
}

// Read takes the vocabulary of an open file, which may be closed afterwards.
func Read(file *gguf.File) (*Tokenizer, error) {
	t := &Tokenizer{ends: map[int32]bool{}}
	var err error
	if t.names, err = file.Strings("tokenizer.ggml.tokens"); err != nil {
		return nil, err
	}
	if t.types, err = file.Ints("tokenizer.ggml.token_type"); errors.Is(err, gguf.ErrMissingKey) {
		t.types = slices.Repeat([]int64{1}, len(t.names))
	} else if err != nil {
		return nil, err
	}
	if len(t.types) != len(t.names) || len(t.names) == 0 {
		return nil, fmt.Errorf("%d tokens with %d types", len(t.names), len(t.types))
	}
	model, err := file.String("tokenizer.ggml.model")
	if err != nil {
		return nil, err
	}
	addBOS := false
	switch model {
	case "gpt2":
		addBOS, err = t.byteLevel(file)
	case "llama":
		addBOS = true
		err = t.sentencePiece(file)
	default:
		err = fmt.Errorf("tokenizer.ggml.model %q is not known here; gpt2 and llama are", model)
	}
	if err != nil {
		return nil, err
	}
	t.readSpecial(file, addBOS)
	template, err := file.String("tokenizer.chat_template")
	t.chatML = err == nil && strings.Contains(template, "<|im_start|>")
	return t, nil
}

func (t *Tokenizer) readSpecial(file *gguf.File, addBOS bool) {
	if value, err := file.Bool("tokenizer.ggml.add_bos_token"); err == nil {
		addBOS = value
	}
	if bos, err := file.Uint64("tokenizer.ggml.bos_token_id"); err == nil && addBOS {
		t.before = []int32{int32(bos)}
	}
	for _, key := range []string{"eos", "eot", "eom"} {
		if id, err := file.Uint64("tokenizer.ggml." + key + "_token_id"); err == nil {
			t.ends[int32(id)] = true
		}
	}
	for id, kind := range t.types {
		if kind == typeControl || kind == typeUser {
			t.special = append(t.special, int32(id))
			if slices.Contains(endNames, t.names[id]) {
				t.ends[int32(id)] = true
			}
		}
	}
	slices.SortStableFunc(t.special, func(a, b int32) int { return len(t.names[b]) - len(t.names[a]) })
}

// Size is the number of tokens.
func (t *Tokenizer) Size() int { return len(t.names) }

// EndsText tells whether an answer ends with this token.
func (t *Tokenizer) EndsText(id int32) bool { return t.ends[id] }

// Shows tells whether a token has text: control and unknown tokens have none.
func (t *Tokenizer) Shows(id int32) bool {
	return t.types[id] != typeControl && t.types[id] != typeUnknown
}

// Plain tells whether a token is ordinary text: neither special nor able to end an answer.
func (t *Tokenizer) Plain(id int32) bool {
	return t.Shows(id) && t.types[id] != typeUser && !t.ends[id]
}

// Piece is a token's bytes, which may be part of a character; of a control token its name.
func (t *Tokenizer) Piece(id int32) []byte { return t.pieces[id] }

// ChatML tells whether the model's chats are written in that format.
func (t *Tokenizer) ChatML() bool { return t.chatML }

// Encode gives the ids of a text by itself; names of special tokens in it are ordinary text.
func (t *Tokenizer) Encode(text string) ([]int32, error) { return t.encode(text) }

// EncodePrompt gives the ids that a model sees for a prompt: with what a sequence begins with, and with names of special tokens
// standing for those tokens.
func (t *Tokenizer) EncodePrompt(text string) ([]int32, error) {
	ids := slices.Clone(t.before)
	plain := 0 // where the text before the next special token begins
	for at := 0; at < len(text); {
		id, found := t.specialAt(text[at:])
		if !found {
			at++
			continue
		}
		part, err := t.encode(text[plain:at])
		if err != nil {
			return nil, err
		}
		ids = append(append(ids, part...), id)
		at += len(t.names[id])
		plain = at
	}
	part, err := t.encode(text[plain:])
	return append(ids, part...), err
}

func (t *Tokenizer) specialAt(text string) (int32, bool) {
	for _, id := range t.special {
		if name := t.names[id]; name != "" && strings.HasPrefix(text, name) {
			return id, true
		}
	}
	return 0, false
}

// mergeAll joins neighbours, the pair of the lowest cost first and the leftmost among equals, until no pair has a cost.
func mergeAll(parts []string, cost func(left, right string) (float64, bool)) []string {
	parts = slices.Clone(parts)
	const never = -1
	costs := make([]float64, len(parts)) // of each part with the next
	allowed := make([]bool, len(parts))
	price := func(i int) {
		allowed[i] = false
		if i+1 < len(parts) {
			costs[i], allowed[i] = cost(parts[i], parts[i+1])
		}
	}
	for i := range parts {
		price(i)
	}
	for {
		best := never
		for i := range parts {
			if allowed[i] && (best == never || costs[i] < costs[best]) {
				best = i
			}
		}
		if best == never {
			return parts
		}
		parts[best] += parts[best+1]
		parts = slices.Delete(parts, best+1, best+2)
		costs, allowed = slices.Delete(costs, best+1, best+2), slices.Delete(allowed, best+1, best+2)
		price(best)
		if best > 0 {
			price(best - 1)
		}
	}
}
