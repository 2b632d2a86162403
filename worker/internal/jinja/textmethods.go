package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type textMethod func(r *run, t text, a args) (value, error)

// textMethods are those of Python's str.
var textMethods = map[string]textMethod{
	"strip": stripMethod("strip", true, true), "lstrip": stripMethod("lstrip", true, false), "rstrip": stripMethod("rstrip", false, true),
	"upper": mapMethod("upper", strings.ToUpper), "lower": mapMethod("lower", strings.ToLower),
	"casefold":   mapMethod("casefold", strings.ToLower),
	"capitalize": wholeMethod("capitalize", capitalized), "title": wholeMethod("title", titled),
	"swapcase":   mapMethod("swapcase", func(s string) string { return strings.Map(swappedCase, s) }),
	"startswith": affixMethod("startswith", strings.HasPrefix), "endswith": affixMethod("endswith", strings.HasSuffix),
	"isdigit": classMethod("isdigit", unicode.IsDigit), "isdecimal": classMethod("isdecimal", unicode.IsDigit),
	"isnumeric": classMethod("isnumeric", unicode.IsNumber),
	"isalpha":   classMethod("isalpha", unicode.IsLetter), "isspace": classMethod("isspace", isSpace),
	"isalnum": classMethod("isalnum", func(c rune) bool { return unicode.IsLetter(c) || unicode.IsNumber(c) }),
	"isupper": caseMethod("isupper", unicode.IsUpper, unicode.IsLower), "islower": caseMethod("islower", unicode.IsLower, unicode.IsUpper),
	"isascii": func(_ *run, t text, a args) (value, error) {
		_, err := a.bind("isascii")
		return strings.IndexFunc(t.s, func(c rune) bool { return c > 127 }) < 0, err
	},
	"removeprefix": cutMethod("removeprefix", true), "removesuffix": cutMethod("removesuffix", false),
	"find": findMethod("find", strings.Index, false), "rfind": findMethod("rfind", strings.LastIndex, false),
	"index": findMethod("index", strings.Index, true), "rindex": findMethod("rindex", strings.LastIndex, true),
	"count":   countMethod,
	"replace": replaceMethod, "split": splitMethod("split", false), "rsplit": splitMethod("rsplit", true),
	"splitlines": splitlinesMethod,
	"partition":  partitionMethod("partition", strings.Index), "rpartition": partitionMethod("rpartition", strings.LastIndex),
	"join": func(r *run, t text, a args) (value, error) {
		v, err := a.bind("join", "iterable")
		if err != nil {
			return nil, err
		}
		items, err := r.iterate(v[0])
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			if _, err := textArgument(item, "an item of join"); err != nil {
				return nil, err
			}
		}
		return r.joined(items, t)
	},
	"ljust": padMethod("ljust", func(missing, _ int) (left, right int) { return 0, missing }),
	"rjust": padMethod("rjust", func(missing, _ int) (left, right int) { return missing, 0 }),
	"center": padMethod("center", func(missing, width int) (left, right int) {
		left = missing/2 + missing&width&1
		return left, missing - left
	}),
	"zfill": func(r *run, t text, a args) (value, error) {
		v, err := a.bind("zfill", "width")
		if err != nil {
			return nil, err
		}
		width, err := integerArgument(v[0], "the width")
		if err != nil {
			return nil, err
		}
		missing := max(0, width-t.length())
		if err := r.makes(missing + len(t.s)); err != nil {
			return nil, err
		}
		sign := 0
		if t.s != "" && (t.s[0] == '-' || t.s[0] == '+') {
			sign = 1
		}
		return concat(t.slice(0, sign), plain(strings.Repeat("0", missing)), t.slice(sign, len(t.s))), nil
	},
	"format": formatMethod,
}

func stripMethod(name string, left, right bool) textMethod {
	return func(_ *run, t text, a args) (value, error) {
		v, err := a.bind(name, "chars?")
		if err != nil {
			return nil, err
		}
		if given(v[0], nil) == nil {
			return t.trim(nil, left, right), nil
		}
		chars, err := textArgument(v[0], "what is stripped")
		return t.trim(&chars.s, left, right), err
	}
}

func mapMethod(name string, change func(string) string) textMethod {
	return func(r *run, t text, a args) (value, error) {
		if _, err := a.bind(name); err != nil {
			return nil, err
		}
		return t.rewrite(change), r.makes(len(t.s))
	}
}

// wholeMethod changes a text whose stretches cannot be looked at one by one.
func wholeMethod(name string, change func(string) string) textMethod {
	return func(r *run, t text, a args) (value, error) {
		if _, err := a.bind(name); err != nil {
			return nil, err
		}
		return t.sameOrigin(change(t.s)), r.makes(len(t.s))
	}
}

func capitalized(s string) string {
	if s == "" {
		return s
	}
	_, size := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:size]) + strings.ToLower(s[size:])
}

func titled(s string) string {
	inWord := false
	return strings.Map(func(c rune) rune {
		letter := unicode.IsLetter(c)
		defer func() { inWord = letter }()
		if inWord {
			return unicode.ToLower(c)
		}
		return unicode.ToTitle(c)
	}, s)
}

func swappedCase(c rune) rune {
	if unicode.IsUpper(c) {
		return unicode.ToLower(c)
	}
	return unicode.ToUpper(c)
}

func affixMethod(name string, has func(s, affix string) bool) textMethod {
	return func(_ *run, t text, a args) (value, error) {
		v, err := a.bind(name, "affix")
		if err != nil {
			return nil, err
		}
		affixes := []value{v[0]}
		if several, ok := v[0].(*list); ok && several.kind == tupleKind {
			affixes = several.items
		}
		for _, affix := range affixes {
			part, err := textArgument(affix, "the argument of "+name)
			if err != nil {
				return nil, err
			}
			if has(t.s, part.s) {
				return true, nil
			}
		}
		return false, nil
	}
}

func classMethod(name string, in func(rune) bool) textMethod {
	return func(_ *run, t text, a args) (value, error) {
		_, err := a.bind(name)
		return t.s != "" && strings.IndexFunc(t.s, func(c rune) bool { return !in(c) }) < 0, err
	}
}

func caseMethod(name string, wanted, other func(rune) bool) textMethod {
	return func(_ *run, t text, a args) (value, error) {
		_, err := a.bind(name)
		return strings.IndexFunc(t.s, wanted) >= 0 && strings.IndexFunc(t.s, other) < 0, err
	}
}

func cutMethod(name string, prefix bool) textMethod {
	return func(_ *run, t text, a args) (value, error) {
		v, err := a.bind(name, "affix")
		if err != nil {
			return nil, err
		}
		affix, err := textArgument(v[0], "the argument of "+name)
		switch {
		case err != nil:
			return nil, err
		case prefix && strings.HasPrefix(t.s, affix.s):
			return t.slice(len(affix.s), len(t.s)), nil
		case !prefix && strings.HasSuffix(t.s, affix.s):
			return t.slice(0, len(t.s)-len(affix.s)), nil
		}
		return t, nil
	}
}

func findMethod(name string, find func(s, part string) int, mustBe bool) textMethod {
	return func(_ *run, t text, a args) (value, error) {
		v, err := a.bind(name, "sub", "start?", "end?")
		if err != nil {
			return nil, err
		}
		part, err := textArgument(v[0], "what is looked for")
		if err != nil {
			return nil, err
		}
		offsets := t.offsets()
		var bounds [2]*int64
		for i := range bounds {
			if n, ok := integer(v[i+1]); ok {
				bounds[i] = &n
			}
		}
		start, stop := window(len(offsets)-1, bounds[0], bounds[1])
		at := -1
		if start <= stop {
			at = find(t.s[offsets[start]:offsets[stop]], part.s)
		}
		if at < 0 {
			if mustBe {
				return nil, errors.New("the text is not found")
			}
			return int64(-1), nil
		}
		return int64(start + utf8.RuneCountInString(t.s[offsets[start]:offsets[start]+at])), nil
	}
}

func countMethod(_ *run, t text, a args) (value, error) {
	v, err := a.bind("count", "sub")
	if err != nil {
		return nil, err
	}
	part, err := textArgument(v[0], "what is counted")
	return int64(strings.Count(t.s, part.s)), err
}

func replaceMethod(r *run, t text, a args) (value, error) {
	v, err := a.bind("replace", "old", "new", "count?")
	if err != nil {
		return nil, err
	}
	before, err := textArgument(v[0], "what is replaced")
	if err != nil {
		return nil, err
	}
	after, err := textArgument(v[1], "the replacement")
	if err != nil {
		return nil, err
	}
	count, err := integerArgument(given(v[2], int64(-1)), "the count")
	if err != nil {
		return nil, err
	}
	return r.replaced(t, before.s, after, count)
}

// replaced replaces up to count occurrences, all of them if count is negative.
func (r *run) replaced(t text, before string, after text, count int) (value, error) {
	found := strings.Count(t.s, before)
	if count >= 0 {
		found = min(found, count)
	}
	if err := r.makes(len(t.s)); err != nil {
		return nil, err
	}
	if err := r.makesTimes(len(after.s), int64(found)); err != nil {
		return nil, err
	}
	var b builder
	at := 0
	for i := range found {
		next := at + strings.Index(t.s[at:], before)
		if before == "" && i > 0 { // between characters
			_, size := utf8.DecodeRuneInString(t.s[at:])
			next = at + size
		}
		b.write(t.slice(at, next))
		b.write(after)
		at = next + len(before)
	}
	b.write(t.slice(at, len(t.s)))
	return b.text(), nil
}

// joined puts the texts of items together with a separator between them.
func (r *run) joined(items []value, separator text) (value, error) {
	var b builder
	for i, item := range items {
		if i > 0 {
			r.put(&b, separator)
		}
		if r.put(&b, r.str(item)); r.over != nil {
			return nil, r.over
		}
	}
	return b.text(), nil
}

func padMethod(name string, sides func(missing, width int) (left, right int)) textMethod {
	return func(r *run, t text, a args) (value, error) {
		v, err := a.bind(name, "width", "fill?")
		if err != nil {
			return nil, err
		}
		width, err := integerArgument(v[0], "the width")
		if err != nil {
			return nil, err
		}
		fill, err := textArgument(given(v[1], plain(" ")), "the fill")
		if err != nil {
			return nil, err
		}
		if fill.length() != 1 {
			return nil, errors.New("the fill must be one character")
		}
		missing := max(0, width-t.length())
		if err := r.makes(missing*len(fill.s) + len(t.s)); err != nil {
			return nil, err
		}
		left, right := sides(missing, width)
		return concat(fill.sameOrigin(strings.Repeat(fill.s, left)), t, fill.sameOrigin(strings.Repeat(fill.s, right))), nil
	}
}

func formatMethod(r *run, t text, a args) (value, error) {
	var b builder
	next := 0
	for at := 0; at < len(t.s); {
		brace := strings.IndexAny(t.s[at:], "{}")
		if brace < 0 {
			r.put(&b, t.slice(at, len(t.s)))
			break
		}
		r.put(&b, t.slice(at, at+brace))
		at += brace
		if at+1 < len(t.s) && t.s[at+1] == t.s[at] { // {{ or }}
			r.put(&b, t.slice(at, at+1))
			at += 2
			continue
		}
		end := strings.IndexByte(t.s[at:], '}')
		if end <= 0 {
			return nil, errors.New("format: a single brace")
		}
		field := t.s[at+1 : at+end]
		at += end + 1
		if strings.ContainsAny(field, ":!.[{") {
			return nil, fmt.Errorf("format: the field {%.40s} is not supported", field)
		}
		v, err := formatField(&a, field, &next)
		if err != nil {
			return nil, err
		}
		r.put(&b, r.str(v))
	}
	return b.text(), r.over
}

func formatField(a *args, field string, next *int) (value, error) {
	place := 0
	switch _, err := fmt.Sscanf(field, "%d", &place); {
	case field == "":
		place = *next
		*next++
	case err != nil:
		if v, ok := a.named[field]; ok {
			return v, nil
		}
		return nil, fmt.Errorf("format: there is no argument %.40q", field)
	}
	if place < 0 || place >= len(a.positional) {
		return nil, fmt.Errorf("format: there is no argument %d", place)
	}
	return a.positional[place], nil
}
