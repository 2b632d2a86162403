package tokens

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// rules are how a family of models cuts text into the parts within which bytes are merged.
type rules struct {
	anyCase    bool // contractions in upper case too
	anyPrefix  bool // letters take any one character before them but a digit or line break, not only a space
	digits     int  // most digits of a part; 0: any number, with a space before them
	lines      bool // line breaks join what is before them
	alone      bool // digits are parted from all else first
	wholeFirst bool // a part that is a token needs no merges
	addsBOS    bool
}

// splitRules are the published expressions of the families under their names in tokenizer.ggml.pre.
var splitRules = map[string]rules{
	"default":   {},
	"gpt-2":     {},
	"phi-2":     {},
	"olmo":      {},
	"smollm":    {alone: true},
	"starcoder": {alone: true},
	"refact":    {alone: true},
	"command-r": {alone: true},
	"llama-bpe": {anyCase: true, anyPrefix: true, digits: 3, lines: true, wholeFirst: true, addsBOS: true},
	"qwen2":     {anyCase: true, anyPrefix: true, digits: 1, lines: true},
}

// split cuts a text; the parts together are the text.
func (r rules) split(text string) []string {
	var parts []string
	runes := decodeRunes(text)
	if r.alone {
		for from := 0; from < len(runes); {
			to := from + 1
			if !unicode.IsNumber(runes[from].r) {
				to = from + run(runes[from:], func(c rune) bool { return !unicode.IsNumber(c) })
			}
			parts = append(parts, r.splitRunes(runes[from:to])...)
			from = to
		}
		return parts
	}
	return r.splitRunes(runes)
}

// placed is a character with its bytes, which are not its encoding where the text is not UTF-8.
type placed struct {
	r    rune
	text string
}

func decodeRunes(text string) []placed {
	var out []placed
	for len(text) > 0 {
		r, size := utf8.DecodeRuneInString(text)
		out = append(out, placed{r, text[:size]})
		text = text[size:]
	}
	return out
}

func (r rules) splitRunes(runes []placed) []string {
	var parts []string
	for from := 0; from < len(runes); {
		length := r.next(runes[from:])
		var part strings.Builder
		for _, c := range runes[from : from+length] {
			part.WriteString(c.text)
		}
		parts = append(parts, part.String())
		from += length
	}
	return parts
}

// run is the number of characters from the beginning that a class holds.
func run(runes []placed, class func(rune) bool) int {
	for i, c := range runes {
		if !class(c.r) {
			return i
		}
	}
	return len(runes)
}

func isBreak(c rune) bool { return c == '\r' || c == '\n' }
func isOther(c rune) bool { return !unicode.IsSpace(c) && !unicode.IsLetter(c) && !unicode.IsNumber(c) }

// next is the length of the first part, at least 1: contraction, letters, digits, other characters, space.
func (r rules) next(runes []placed) int {
	first := runes[0].r
	if n := r.contraction(runes); n > 0 {
		return n
	}
	prefix := 0
	switch {
	case r.anyPrefix && !isBreak(first) && !unicode.IsLetter(first) && !unicode.IsNumber(first), !r.anyPrefix && first == ' ':
		prefix = 1
	}
	if letters := run(runes[prefix:], unicode.IsLetter); letters > 0 {
		return prefix + letters
	}
	space := 0
	if first == ' ' {
		space = 1
	}
	if r.digits > 0 {
		if digits := run(runes, unicode.IsNumber); digits > 0 {
			return min(digits, r.digits)
		}
	} else if digits := run(runes[space:], unicode.IsNumber); digits > 0 {
		return space + digits
	}
	if others := run(runes[space:], isOther); others > 0 {
		end := space + others
		if r.lines {
			end += run(runes[end:], isBreak)
		}
		return end
	}
	return r.space(runes)
}

// space is the length of the part that white space makes: up to its last line break, else all of it before the end of the
// text, else all but the last, which belongs to what follows.
func (r rules) space(runes []placed) int {
	length := run(runes, unicode.IsSpace)
	if r.lines {
		for end := length; end > 0; end-- {
			if isBreak(runes[end-1].r) {
				return end
			}
		}
	}
	if length < len(runes) && length > 1 {
		return length - 1
	}
	return max(length, 1)
}

// contraction is the length of an English ending such as 'll at the beginning, or 0.
func (r rules) contraction(runes []placed) int {
	if runes[0].r != '\'' {
		return 0
	}
	for _, ending := range []string{"s", "t", "re", "ve", "m", "ll", "d"} {
		if len(runes) <= len(ending) {
			continue
		}
		matches := true
		for i, want := range ending {
			got := runes[1+i].r
			if r.anyCase {
				got = unicode.ToLower(got)
				if got == 'ſ' { // the long s, which folds to s
					got = 's'
				}
			}
			matches = matches && got == want
		}
		if matches {
			return 1 + len(ending)
		}
	}
	return 0
}
