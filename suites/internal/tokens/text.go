package tokens

import "unicode/utf8"

// Text is what the tokens of an answer show: whole characters, U+FFFD for bytes that cannot become one. Unless the answer has
// ended, a character that the last tokens began is left out.
func (t *Tokenizer) Text(ids []int32, ended bool) string {
	var raw []byte
	for _, id := range ids {
		if t.Shows(id) {
			raw = append(raw, t.pieces[id]...)
		}
	}
	var out []byte
	for len(raw) > 0 {
		character, size := utf8.DecodeRune(raw)
		if character == utf8.RuneError && size == 1 {
			size = brokenPrefix(raw)
			if size == len(raw) && !utf8.FullRune(raw) && !ended {
				break
			}
		}
		out = utf8.AppendRune(out, character)
		raw = raw[size:]
	}
	return string(out)
}

// brokenPrefix is the length of the longest beginning that some character starts with (Unicode 15, section 3.9, substitution
// of maximal subparts), at least 1.
func brokenPrefix(raw []byte) int {
	for n := min(len(raw), utf8.UTFMax-1); n > 1; n-- {
		if !utf8.FullRune(raw[:n]) {
			return n
		}
	}
	return 1
}
