package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"touchstone/native/gguf"
)

// spaceMark stands for a space in SentencePiece tokens (U+2581).
const spaceMark = "▁"

// spm is SentencePiece's BPE: characters are merged into the token of the best score, bytes stand for unknown characters.
type spm struct {
	vocabulary
	byText  map[string]int32 // tokens that text may become, by name
	ranks   []int32          // of each token; the best score has the lowest
	bytes   [256]int32
	longest int // name in byText, bytes
}

func spmFromGGUF(f *gguf.File) (Tokenizer, error) {
	v, err := vocabularyFromGGUF(f)
	if err != nil {
		return nil, err
	}
	scores, err := f.Floats("tokenizer.ggml.scores")
	if err != nil {
		return nil, err
	}
	if len(scores) != len(v.names) {
		return nil, fmt.Errorf("tokenizer.ggml.scores has %d entries for %d tokens; convert the model again", len(scores), len(v.names))
	}
	if err := v.addedFromGGUF(f, true); err != nil {
		return nil, err
	}
	v.prependsASpace, err = f.Bool("tokenizer.ggml.add_space_prefix")
	if errors.Is(err, gguf.ErrMissingKey) {
		v.prependsASpace, err = true, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := newSPM(v, scores)
	if err != nil {
		return nil, err
	}
	if architecture, err := f.String("general.architecture"); err == nil && architecture == "phi3" {
		t.stripAsPhi3()
	}
	return t, nil
}

// newSPM builds a tokenizer from a vocabulary with names and types.
func newSPM(v *vocabulary, scores []float64) (*spm, error) {
	t := &spm{vocabulary: *v, byText: make(map[string]int32, len(v.names))}
	t.pieces = make([]string, len(t.names))
	for b := range t.bytes {
		t.bytes[b] = noToken
	}
	for i, name := range t.names {
		if math.IsNaN(scores[i]) {
			return nil, fmt.Errorf("the score of token %d is not a number; convert the model again", i)
		}
		t.pieces[i] = name
		switch t.types[i] {
		case typeByte:
			b, err := byteOfName(name)
			if err != nil {
				return nil, fmt.Errorf("token %d: %w", i, err)
			}
			t.pieces[i] = string([]byte{b})
			if t.bytes[b] == noToken {
				t.bytes[b] = int32(i)
			}
		case typeNormal, typeUserDefined:
			t.pieces[i] = strings.ReplaceAll(name, spaceMark, " ")
			if _, ok := t.byText[name]; !ok && name != "" {
				t.byText[name] = int32(i)
				t.longest = max(t.longest, len(name))
			}
		}
	}
	t.ranks = ranksOf(scores)
	return t, t.finish()
}

// ranksOf numbers scores from the highest to the lowest; equal scores have equal ranks.
func ranksOf(scores []float64) []int32 {
	order := make([]int, len(scores))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(scores[b], scores[a]) })
	ranks := make([]int32, len(scores))
	for i, id := range order {
		if i > 0 {
			ranks[id] = ranks[order[i-1]]
			if scores[id] != scores[order[i-1]] {
				ranks[id]++
			}
		}
	}
	return ranks
}

// byteOfName reads names like <0x0A>.
func byteOfName(name string) (byte, error) {
	var b byte
	if _, err := fmt.Sscanf(name, "<0x%02X>", &b); err != nil || len(name) != 6 {
		return 0, fmt.Errorf("a byte token is called %.64q, not <0x00> to <0xFF>; convert the model again", name)
	}
	return b, nil
}

// stripAsPhi3 makes white space after Phi-3's markers belong to them, as its tokenizer_config.json says; GGUF has no key
// for it.
func (t *spm) stripAsPhi3() {
	keep := []string{"<unk>", "<s>", "<|endoftext|>"}
	for i, name := range t.names {
		if (t.types[i] == typeControl || t.types[i] == typeUserDefined) && !slices.Contains(keep, name) {
			t.special.setStrip(int32(i), strip{right: true})
		}
	}
}

func (t *spm) Kind() string { return "spm" }

func (t *spm) Decode(ids []int32) string { return decode(t, ids) }

func (t *spm) Encode(text string, options Options) ([]int32, error) {
	m := &merger{pair: t.pair}
	return t.encode(text, options, func(ids []int32, text string) ([]int32, error) {
		if t.prependsASpace {
			text = " " + text
		}
		text = strings.ReplaceAll(text, " ", spaceMark)
		m.reset(text)
		for at := 0; at < len(text); {
			_, size := utf8.DecodeRuneInString(text[at:])
			m.push(t.find(text[at:at+size]), size)
			at += size
		}
		err := m.run(func(s symbol) error {
			var err error
			ids, err = t.appendSymbol(ids, s.id, text[s.start:s.start+s.length])
			return err
		})
		return ids, err
	})
}

// find gives the token of a text, noToken if there is none.
func (t *spm) find(text string) int32 {
	if id, ok := t.byText[text]; ok {
		return id
	}
	return noToken
}

// appendSymbol appends a token, or for a character without token those of its bytes, or the unknown token.
func (t *spm) appendSymbol(ids []int32, id int32, text string) ([]int32, error) {
	if id != noToken {
		return append(ids, id), nil
	}
	for i := range len(text) {
		if id := t.bytes[text[i]]; id != noToken {
			ids = append(ids, id)
			continue
		}
		if t.unk == noToken {
			return nil, fmt.Errorf("the vocabulary has no token for byte 0x%02X and no unknown token", text[i])
		}
		return append(ids, t.unk), nil
	}
	return ids, nil
}

func (t *spm) pair(text string, left, right symbol) (rank, id int32, ok bool) {
	length := left.length + right.length
	if length > t.longest {
		return 0, 0, false
	}
	id, ok = t.byText[text[left.start:left.start+length]]
	if !ok {
		return 0, 0, false
	}
	return t.ranks[id], id, true
}
