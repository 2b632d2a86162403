package jinja

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// splitMethod is str.split, or from the right str.rsplit.
func splitMethod(name string, fromRight bool) textMethod {
	return func(r *run, t text, a args) (value, error) {
		v, err := a.bind(name, "sep?", "maxsplit?")
		if err != nil {
			return nil, err
		}
		most, err := integerArgument(given(v[1], int64(-1)), "maxsplit")
		if err != nil {
			return nil, err
		}
		if most < 0 {
			most = len(t.s) + 1
		}
		if err := r.makes(valueBytes * min(most, len(t.s))); err != nil {
			return nil, err
		}
		if given(v[0], nil) == nil {
			return &list{items: splitSpaces(t, most, fromRight)}, nil
		}
		separator, err := textArgument(v[0], "the separator")
		if err != nil {
			return nil, err
		}
		if separator.s == "" {
			return nil, errors.New("the separator is empty")
		}
		return &list{items: splitAt(t, separator.s, most, fromRight)}, nil
	}
}

// splitAt cuts t at a separator, at most `most` times.
func splitAt(t text, separator string, most int, fromRight bool) []value {
	var parts []value
	start, end := 0, len(t.s)
	for range most {
		if fromRight {
			at := strings.LastIndex(t.s[:end], separator)
			if at < 0 {
				break
			}
			parts = append(parts, t.slice(at+len(separator), end))
			end = at
			continue
		}
		at := strings.Index(t.s[start:], separator)
		if at < 0 {
			break
		}
		parts = append(parts, t.slice(start, start+at))
		start += at + len(separator)
	}
	parts = append(parts, t.slice(start, end))
	if fromRight {
		slices.Reverse(parts)
	}
	return parts
}

// splitSpaces cuts t at white space, at most `most` times; empty parts are left out.
func splitSpaces(t text, most int, fromRight bool) []value {
	var parts []value
	if fromRight {
		for rest := t.trim(nil, false, true); rest.s != ""; {
			at := strings.LastIndexFunc(rest.s, isSpace)
			if at < 0 || len(parts) == most {
				parts = append(parts, rest)
				break
			}
			_, size := utf8.DecodeRuneInString(rest.s[at:])
			parts = append(parts, rest.slice(at+size, len(rest.s)))
			rest = rest.slice(0, at).trim(nil, false, true)
		}
		slices.Reverse(parts)
		return parts
	}
	for rest := t.trim(nil, true, false); rest.s != ""; {
		at := strings.IndexFunc(rest.s, isSpace)
		if len(parts) == most {
			return append(parts, rest)
		}
		if at < 0 {
			return append(parts, rest)
		}
		parts = append(parts, rest.slice(0, at))
		rest = rest.slice(at, len(rest.s)).trim(nil, true, false)
	}
	return parts
}

func splitlinesMethod(r *run, t text, a args) (value, error) {
	v, err := a.bind("splitlines", "keepends?")
	if err != nil {
		return nil, err
	}
	if err := r.makes(valueBytes * len(t.s)); err != nil {
		return nil, err
	}
	keep := truth(given(v[0], false))
	lines := &list{}
	for start := 0; start < len(t.s); {
		end, next := lineEnd(t.s, start)
		if keep {
			end = next
		}
		lines.items = append(lines.items, t.slice(start, end))
		start = next
	}
	return lines, nil
}

// lineEnd gives where the line that begins at start ends, and where the next begins.
func lineEnd(s string, start int) (end, next int) {
	at := strings.IndexAny(s[start:], "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029")
	if at < 0 {
		return len(s), len(s)
	}
	end = start + at
	if strings.HasPrefix(s[end:], "\r\n") {
		return end, end + 2
	}
	_, size := utf8.DecodeRuneInString(s[end:])
	return end, end + size
}

func partitionMethod(name string, find func(s, part string) int) textMethod {
	return func(_ *run, t text, a args) (value, error) {
		v, err := a.bind(name, "sep")
		if err != nil {
			return nil, err
		}
		separator, err := textArgument(v[0], "the separator")
		if err != nil {
			return nil, err
		}
		if separator.s == "" {
			return nil, errors.New("the separator is empty")
		}
		parts := &list{kind: tupleKind}
		switch at := find(t.s, separator.s); {
		case at >= 0:
			parts.items = []value{t.slice(0, at), t.slice(at, at+len(separator.s)), t.slice(at+len(separator.s), len(t.s))}
		case name == "partition":
			parts.items = []value{t, text{}, text{}}
		default:
			parts.items = []value{text{}, text{}, t}
		}
		return parts, nil
	}
}
