package tokenizer

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/dlclark/regexp2"
)

// The published split expressions of the model families. None nests quantifiers, and where two alternatives can start at
// the same place each reads a run of characters at most once, so that matching takes time linear in the text and needs no
// timeout. Expressions from files are therefore not compiled, only compared with these.
const (
	gpt2Split   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	llama3Split = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	qwen2Split  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	digitSplit  = `\p{N}`
)

// compiled holds the expressions, ready to match.
var compiled = map[string]*regexp2.Regexp{
	gpt2Split:   regexp2.MustCompile(gpt2Split, regexp2.None),
	llama3Split: regexp2.MustCompile(llama3Split, regexp2.None),
	qwen2Split:  regexp2.MustCompile(qwen2Split, regexp2.None),
	digitSplit:  regexp2.MustCompile(digitSplit, regexp2.None),
}

// preTokenizer is how a family of models treats text before merging.
type preTokenizer struct {
	splits       []string // expressions, applied one after the other
	ignoreMerges bool     // a part that is a token as a whole is not built from merges
	addsBOS      bool     // BOS is added where the file does not tell
}

// preTokenizers are the values of tokenizer.ggml.pre.
var preTokenizers = map[string]preTokenizer{
	"default":   {splits: []string{gpt2Split}},
	"gpt-2":     {splits: []string{gpt2Split}},
	"llama-bpe": {splits: []string{llama3Split}, ignoreMerges: true, addsBOS: true},
	"qwen2":     {splits: []string{qwen2Split}},
	"smollm":    {splits: []string{digitSplit, gpt2Split}},
	"starcoder": {splits: []string{digitSplit, gpt2Split}},
	"refact":    {splits: []string{digitSplit, gpt2Split}},
	"command-r": {splits: []string{digitSplit, gpt2Split}},
	"phi-2":     {splits: []string{gpt2Split}},
	"olmo":      {splits: []string{gpt2Split}},
}

func findPreTokenizer(name string) (preTokenizer, error) {
	p, ok := preTokenizers[name]
	if !ok {
		known := strings.Join(slices.Sorted(maps.Keys(preTokenizers)), ", ")
		return p, fmt.Errorf("tokenizer.ggml.pre %q is not supported (supported: %s); use a model with one of these", name, known)
	}
	return p, nil
}

// split cuts text into the parts within which merges happen; together they are text again.
func (p preTokenizer) split(text string) ([]string, error) {
	parts := []string{text}
	for _, expression := range p.splits {
		var finer []string
		for _, part := range parts {
			var err error
			if finer, err = appendMatches(finer, part, compiled[expression]); err != nil {
				return nil, err
			}
		}
		parts = finer
	}
	return parts, nil
}

// appendMatches appends the matches and what lies between them.
func appendMatches(parts []string, text string, expression *regexp2.Regexp) ([]string, error) {
	// Matches are counted in characters. An invalid byte counts as one character but stays as it is.
	runes := []rune(text)
	at, bytes := 0, 0
	take := func(end int) {
		start := bytes
		for ; at < end; at++ {
			_, size := utf8.DecodeRuneInString(text[bytes:])
			bytes += size
		}
		if bytes > start {
			parts = append(parts, text[start:bytes])
		}
	}
	match, err := expression.FindRunesMatch(runes)
	for ; match != nil && err == nil; match, err = expression.FindNextMatch(match) {
		take(match.Index)
		take(match.Index + match.Length)
	}
	if err != nil {
		return nil, fmt.Errorf("splitting a text of %d characters: %w", len(runes), err)
	}
	take(len(runes))
	return parts, nil
}
