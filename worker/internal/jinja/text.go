package jinja

import (
	"sort"
	"strings"
	"unicode/utf8"
)

// Span is a range of bytes, Start included and End not.
type Span struct{ Start, End int }

// text is a string that remembers which of its bytes came from the data and not from the template. It does not change.
type text struct {
	s      string
	data   []Span // in order, neither empty nor touching
	markup bool   // it was marked safe: what is added to it gets HTML escapes, as in Jinja2
}

// plain is text of the template.
func plain(s string) text { return text{s: s} }

// fromData is text of the data.
func fromData(s string) text {
	if s == "" {
		return text{}
	}
	return text{s: s, data: []Span{{0, len(s)}}}
}

// slice gives the bytes from start up to end.
func (t text) slice(start, end int) text {
	cut := text{s: t.s[start:end], markup: t.markup}
	first := sort.Search(len(t.data), func(i int) bool { return t.data[i].End > start })
	for _, span := range t.data[first:] {
		if span.Start >= end {
			break
		}
		if from, to := max(span.Start, start), min(span.End, end); from < to {
			cut.data = append(cut.data, Span{from - start, to - start})
		}
	}
	return cut
}

// rewrite passes each stretch of one origin through change, which keeps the origin.
func (t text) rewrite(change func(string) string) text {
	var b builder
	at := 0
	for _, span := range t.data {
		b.write(plain(change(t.s[at:span.Start])))
		b.write(fromData(change(t.s[span.Start:span.End])))
		at = span.End
	}
	b.write(plain(change(t.s[at:])))
	return b.text()
}

// sameOrigin gives s the origin of t: the data's if any byte of t came from there.
func (t text) sameOrigin(s string) text {
	if len(t.data) > 0 {
		return fromData(s)
	}
	return plain(s)
}

// trim removes white space, or the characters of cutset if it is given.
func (t text) trim(cutset *string, left, right bool) text {
	inSet := isSpace
	if cutset != nil {
		inSet = func(r rune) bool { return strings.ContainsRune(*cutset, r) }
	}
	start, end := 0, len(t.s)
	if left {
		start = len(t.s) - len(strings.TrimLeftFunc(t.s, inSet))
	}
	if right {
		end = max(start, len(strings.TrimRightFunc(t.s, inSet)))
	}
	return t.slice(start, end)
}

// length counts characters.
func (t text) length() int { return utf8.RuneCountInString(t.s) }

// offsets gives the byte offset of each character, and of the end.
func (t text) offsets() []int {
	offsets := make([]int, 0, len(t.s)+1)
	for i := range t.s {
		offsets = append(offsets, i)
	}
	return append(offsets, len(t.s))
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool {
	switch {
	case r >= '\t' && r <= '\r', r >= 0x1c && r <= ' ', r == 0x85, r == 0xa0, r == 0x1680, r >= 0x2000 && r <= 0x200a,
		r == 0x2028, r == 0x2029, r == 0x202f, r == 0x205f, r == 0x3000:
		return true
	}
	return false
}

// builder puts texts together.
type builder struct {
	s    strings.Builder
	data []Span
}

func (b *builder) write(t text) {
	at := b.s.Len()
	b.s.WriteString(t.s)
	for _, span := range t.data {
		if last := len(b.data) - 1; last >= 0 && b.data[last].End == at+span.Start {
			b.data[last].End = at + span.End
			continue
		}
		b.data = append(b.data, Span{at + span.Start, at + span.End})
	}
}

func (b *builder) text() text { return text{s: b.s.String(), data: b.data} }

// concat puts texts together.
func concat(parts ...text) text {
	var b builder
	for _, part := range parts {
		b.write(part)
	}
	return b.text()
}
