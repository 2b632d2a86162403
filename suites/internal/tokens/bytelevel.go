package tokens

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"touchstone/native/gguf"
)

// byteLevel reads a vocabulary whose tokens are byte sequences, each byte written as a printable character.
func (t *Tokenizer) byteLevel(file *gguf.File) (addBOS bool, err error) {
	merges, err := file.Strings("tokenizer.ggml.merges")
	if err != nil {
		return false, err
	}
	name, err := file.String("tokenizer.ggml.pre")
	if err != nil {
		name = "gpt-2"
	}
	rules, known := splitRules[name]
	if !known {
		return false, fmt.Errorf("tokenizer.ggml.pre %q is not known here", name)
	}
	ranks := make(map[string]float64, len(merges))
	for rank, pair := range merges {
		if _, seen := ranks[pair]; !seen {
			ranks[pair] = float64(rank)
		}
	}
	letters, values := byteLetters()
	ids := make(map[string]int32, len(t.names))
	for id, text := range t.names {
		piece := []byte(text)
		if t.types[id] != typeControl && t.types[id] != typeUser {
			piece = unletter(text, values)
			if !has(ids, text) {
				ids[text] = int32(id)
			}
		}
		t.pieces = append(t.pieces, piece)
	}
	t.encode = func(text string) ([]int32, error) {
		var out []int32
		for _, part := range rules.split(text) {
			symbols := make([]string, len(part))
			for i := range len(part) {
				symbols[i] = letters[part[i]]
			}
			if whole := strings.Join(symbols, ""); rules.wholeFirst && has(ids, whole) {
				symbols = []string{whole}
			}
			for _, symbol := range mergeAll(symbols, func(left, right string) (float64, bool) {
				rank, found := ranks[left+" "+right]
				return rank, found
			}) {
				if !has(ids, symbol) {
					return nil, fmt.Errorf("the vocabulary has no token for %q", symbol)
				}
				out = append(out, ids[symbol])
			}
		}
		return out, nil
	}
	return rules.addsBOS, nil
}

func has(ids map[string]int32, name string) bool {
	_, found := ids[name]
	return found
}

// byteLetters gives the character for each byte: printable Latin-1 characters stand for themselves, the remaining bytes for
// those from U+0100 on.
func byteLetters() (letters [256]string, values map[rune]byte) {
	values = map[rune]byte{}
	next := rune(256)
	for b := range 256 {
		letter := rune(b)
		if b < '!' || b > '~' && b < 0xa1 || b == 0xad {
			letter = next
			next++
		}
		letters[b], values[letter] = string(letter), byte(b)
	}
	return letters, values
}

// unletter turns a name into its bytes; a character that stands for no byte stays.
func unletter(name string, values map[rune]byte) []byte {
	var out []byte
	for _, letter := range name {
		if b, isByte := values[letter]; isByte {
			out = append(out, b)
		} else {
			out = utf8.AppendRune(out, letter)
		}
	}
	return out
}
