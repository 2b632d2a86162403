package tokenizer

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"touchstone/native/gguf"
)

// bpe is a byte-level BPE tokenizer: text is split by an expression, and within the parts bytes are merged by rank.
type bpe struct {
	vocabulary
	pre        preTokenizer
	normalizes bool // to NFC
	bytes      [256]int32
	merges     map[uint64]merge // by pairOf the tokens
	whole      map[string]int32 // tokens that text may become, by their bytes; only for ignoreMerges
}

type merge struct{ rank, id int32 }

// pairOf makes one key of two ids.
func pairOf(left, right int32) uint64 { return uint64(uint32(left))<<32 | uint64(uint32(right)) }

// byteRunes gives the character that stands for each byte in the names of byte-level tokens (Radford et al. 2019):
// printable Latin-1 for itself, the other bytes for U+0100 onwards.
var byteRunes = func() (table [256]rune) {
	next := rune(0x100)
	for b := range table {
		r := rune(b)
		if (r >= '!' && r <= '~') || (r >= '¡' && r <= '¬') || (r >= '®' && r <= 'ÿ') {
			table[b] = r
			continue
		}
		table[b] = next
		next++
	}
	return table
}()

// runeBytes is the inverse of byteRunes.
var runeBytes = func() map[rune]byte {
	table := make(map[rune]byte, 256)
	for b, r := range byteRunes {
		table[r] = byte(b)
	}
	return table
}()

func bpeFromGGUF(f *gguf.File) (Tokenizer, error) {
	v, err := vocabularyFromGGUF(f)
	if err != nil {
		return nil, err
	}
	merges, err := f.Strings("tokenizer.ggml.merges")
	if err != nil {
		return nil, err
	}
	name, err := f.String("tokenizer.ggml.pre")
	if errors.Is(err, gguf.ErrMissingKey) {
		name, err = "default", nil
	}
	if err != nil {
		return nil, err
	}
	pre, err := findPreTokenizer(name)
	if err != nil {
		return nil, err
	}
	if err := v.addedFromGGUF(f, pre.addsBOS); err != nil {
		return nil, err
	}
	v.prependsASpace, err = f.Bool("tokenizer.ggml.add_space_prefix")
	if err != nil && !errors.Is(err, gguf.ErrMissingKey) {
		return nil, err
	}
	pairs := make([][2]string, len(merges))
	for i, text := range merges {
		// A name does not contain a space, but a damaged file may: the parts are looked up all the same.
		pairs[i][0], pairs[i][1], _ = strings.Cut(text, " ")
	}
	return newBPE(v, pairs, pre)
}

// newBPE builds a tokenizer from a vocabulary with names and types, and merges in order of rank.
func newBPE(v *vocabulary, merges [][2]string, pre preTokenizer) (*bpe, error) {
	t := &bpe{vocabulary: *v, pre: pre, merges: make(map[uint64]merge, len(merges))}
	byName := make(map[string]int32, len(t.names))
	t.pieces = make([]string, len(t.names))
	for i, name := range t.names {
		t.pieces[i] = name
		if t.types[i] != typeNormal {
			continue
		}
		t.pieces[i] = bytesOfName(name)
		if _, ok := byName[name]; !ok && name != "" {
			byName[name] = int32(i)
		}
	}
	for b := range t.bytes {
		t.bytes[b] = noToken
		if id, ok := byName[string(byteRunes[b])]; ok {
			t.bytes[b] = id
		}
	}
	if err := t.setMerges(merges, byName); err != nil {
		return nil, err
	}
	if pre.ignoreMerges {
		t.whole = make(map[string]int32, len(byName))
		for _, id := range byName {
			t.whole[t.pieces[id]] = id
		}
	}
	return t, t.finish()
}

func (t *bpe) setMerges(merges [][2]string, byName map[string]int32) error {
	for rank, m := range merges {
		left, ok1 := byName[m[0]]
		right, ok2 := byName[m[1]]
		id, ok3 := byName[m[0]+m[1]]
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("merge %d (%.64q %.64q) names a token that is not in the vocabulary; convert the model again", rank, m[0], m[1])
		}
		pair := pairOf(left, right)
		if _, ok := t.merges[pair]; !ok {
			t.merges[pair] = merge{rank: int32(rank), id: id}
		}
	}
	return nil
}

// bytesOfName turns the name of a byte-level token into its bytes; characters that stand for no byte are kept.
func bytesOfName(name string) string {
	out := make([]byte, 0, len(name))
	for _, r := range name {
		if b, ok := runeBytes[r]; ok {
			out = append(out, b)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return string(out)
}

func (t *bpe) Kind() string { return "bpe" }

// spacePrefix is false: a space is only put before texts without one, so decoding cannot know whose it is and keeps it.
func (t *bpe) spacePrefix() bool { return false }

func (t *bpe) Decode(ids []int32) string { return decode(t, ids) }

func (t *bpe) Encode(text string, options Options) ([]int32, error) {
	m := &merger{pair: t.pair}
	return t.encode(text, options, func(ids []int32, text string) ([]int32, error) {
		if t.normalizes {
			text = norm.NFC.String(text)
		}
		if t.prependsASpace && !strings.HasPrefix(text, " ") {
			text = " " + text
		}
		parts, err := t.pre.split(text)
		if err != nil {
			return nil, err
		}
		for _, part := range parts {
			if ids, err = t.appendPart(ids, part, m); err != nil {
				return nil, err
			}
		}
		return ids, nil
	})
}

// appendPart appends the ids of one part of the split text.
func (t *bpe) appendPart(ids []int32, part string, m *merger) ([]int32, error) {
	if id, ok := t.whole[part]; ok {
		return append(ids, id), nil
	}
	m.reset(part)
	for i := range len(part) {
		id := t.bytes[part[i]]
		if id == noToken {
			id = t.unk
		}
		if id == noToken {
			return nil, fmt.Errorf("the vocabulary has no token for byte 0x%02X and no unknown token", part[i])
		}
		m.push(id, 1)
	}
	err := m.run(func(s symbol) error {
		ids = append(ids, s.id)
		return nil
	})
	return ids, err
}

func (t *bpe) pair(_ string, left, right symbol) (rank, id int32, ok bool) {
	m, ok := t.merges[pairOf(left.id, right.id)]
	return m.rank, m.id, ok
}
