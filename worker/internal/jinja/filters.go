package jinja

import (
	"errors"
	"html"
	"strings"
	"unicode"
)

// filter is a filter, or a test: a function of an input and arguments.
type filter func(r *run, input value, a args) (value, error)

// missingFilters are filters of Jinja2 that are not here. A template that uses one is refused when it is read.
var missingFilters = []string{
	"filesizeformat", "forceescape", "pprint", "random", "striptags", "urlencode", "urlize", "wordwrap", "xmlattr",
}

// library holds what a template may use by name.
type library struct{ filters, tests map[string]filter }

func newLibrary() *library { return &library{filters: filterTable(), tests: testTable()} }

func filterTable() map[string]filter {
	return map[string]filter{
		"abs": absFilter, "attr": attrFilter, "batch": batchFilter, "capitalize": ofText(capitalized), "center": centerFilter,
		"count": lengthFilter, "d": defaultFilter, "default": defaultFilter, "dictsort": dictsortFilter, "e": escapeFilter,
		"escape": escapeFilter, "first": firstFilter, "float": floatFilter, "format": formatFilter, "groupby": groupbyFilter,
		"indent": indentFilter, "int": intFilter, "items": itemsFilter, "join": joinFilter, "last": lastFilter, "length": lengthFilter,
		"list": listFilter, "lower": mapped(strings.ToLower), "map": mapFilter, "max": extremeFilter(true), "min": extremeFilter(false),
		"reject": chooseFilter(false, false), "rejectattr": chooseFilter(true, false), "select": chooseFilter(false, true),
		"selectattr": chooseFilter(true, true), "replace": replaceFilter, "reverse": reverseFilter, "round": roundFilter, "safe": safeFilter,
		"slice": sliceFilter, "sort": sortFilter, "string": stringFilter, "sum": sumFilter,
		"title": ofText(titleFiltered), "tojson": tojsonFilter,
		"trim": trimFilter, "truncate": truncateFilter, "unique": uniqueFilter, "upper": mapped(strings.ToUpper), "wordcount": wordcountFilter,
	}
}

// mapped makes a filter of a change that looks at one character at a time.
func mapped(change func(string) string) filter {
	return func(r *run, input value, a args) (value, error) {
		_, err := a.bind("it")
		t := r.str(input)
		if err == nil {
			err = r.makes(len(t.s))
		}
		return t.rewrite(change), err
	}
}

// ofText makes a filter of a change of a whole text.
func ofText(change func(string) string) filter {
	return func(r *run, input value, a args) (value, error) {
		_, err := a.bind("it")
		t := r.str(input)
		if err == nil {
			err = r.makes(len(t.s))
		}
		return t.sameOrigin(change(t.s)), err
	}
}

// titleFiltered is Jinja's title, which knows other words than Python's.
func titleFiltered(s string) string {
	starts := true
	return strings.Map(func(c rune) rune {
		wasStart := starts
		starts = isSpace(c) || strings.ContainsRune("-({[<", c)
		if wasStart && !starts {
			return unicode.ToUpper(c)
		}
		return unicode.ToLower(c)
	}, s)
}

func stringFilter(r *run, input value, a args) (value, error) {
	_, err := a.bind("it")
	return r.str(input), err
}

func safeFilter(r *run, input value, a args) (value, error) {
	_, err := a.bind("safe")
	t := r.str(input)
	t.markup = true
	return t, err
}

func escapeFilter(r *run, input value, a args) (value, error) {
	_, err := a.bind("it")
	t := r.str(input)
	if !t.markup {
		t = t.rewrite(html.EscapeString)
		t.markup = true
	}
	if err == nil {
		err = r.makes(len(t.s))
	}
	return t, err
}

func trimFilter(r *run, input value, a args) (value, error) {
	return stripMethod("trim", true, true)(r, r.str(input), a)
}

func centerFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("center", "width?")
	if err != nil {
		return nil, err
	}
	return textMethods["center"](r, r.str(input), args{positional: []value{given(v[0], int64(80))}})
}

func replaceFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("replace", "old", "new", "count?")
	if err != nil {
		return nil, err
	}
	count := -1
	if limit := given(v[2], nil); limit != nil {
		if count, err = integerArgument(limit, "count"); err != nil {
			return nil, err
		}
	}
	return r.replaced(r.str(input), r.str(v[0]).s, r.str(v[1]), count)
}

func formatFilter(r *run, input value, a args) (value, error) {
	t := r.str(input)
	if len(a.named) > 0 {
		return nil, errors.New("named arguments are not supported")
	}
	return r.percentFormat(t, &list{items: a.positional, kind: tupleKind})
}

func indentFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("indent", "width?", "first?", "blank?")
	if err != nil {
		return nil, err
	}
	by, isText := given(v[0], int64(4)).(text)
	if !isText {
		width, err := integerArgument(given(v[0], int64(4)), "width")
		if err != nil {
			return nil, err
		}
		if err := r.makes(max(width, 0)); err != nil {
			return nil, err
		}
		by = plain(strings.Repeat(" ", max(width, 0)))
	}
	first, blank := truth(given(v[1], false)), truth(given(v[2], false))
	lines := splitAt(concat(r.str(input), plain("\n")), "\n", 1<<30, false)
	lines = lines[:len(lines)-1]
	var b builder
	for i, line := range lines {
		line := line.(text)
		if i > 0 {
			r.put(&b, plain("\n"))
		}
		if i == 0 && first || i > 0 && (blank || line.s != "") {
			r.put(&b, by)
		}
		r.put(&b, line)
	}
	return b.text(), r.over
}

func truncateFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("truncate", "length?", "killwords?", "end?", "leeway?")
	if err != nil {
		return nil, err
	}
	t := r.str(input)
	length, err := integerArgument(given(v[0], int64(255)), "length")
	if err != nil {
		return nil, err
	}
	end, err := textArgument(given(v[2], plain("...")), "end")
	if err != nil {
		return nil, err
	}
	leeway := 5
	if given(v[3], nil) != nil {
		if leeway, err = integerArgument(v[3], "leeway"); err != nil {
			return nil, err
		}
	}
	if length < end.length() {
		return nil, errors.New("the length is smaller than that of the end")
	}
	offsets := t.offsets()
	if len(offsets)-1 <= length+leeway {
		return t, nil
	}
	cut := t.slice(0, offsets[length-end.length()])
	if !truth(given(v[1], false)) {
		if at := strings.LastIndexByte(cut.s, ' '); at >= 0 {
			cut = cut.slice(0, at)
		}
	}
	return concat(cut, end), nil
}

func wordcountFilter(r *run, input value, a args) (value, error) {
	_, err := a.bind("wordcount")
	words := strings.FieldsFunc(r.str(input).s, func(c rune) bool { return !unicode.IsLetter(c) && !unicode.IsNumber(c) && c != '_' })
	return int64(len(words)), err
}

func tojsonFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("tojson", "ensure_ascii?", "indent?", "separators?", "sort_keys?")
	if err != nil {
		return nil, err
	}
	style := jsonStyle{ascii: truth(given(v[0], false)), comma: ", ", colon: ": ", sortKeys: truth(given(v[3], false)), currentNewline: "\n"}
	switch indent := given(v[1], nil).(type) {
	case nil:
	case text:
		style.indent = &indent.s
	default:
		width, err := integerArgument(indent, "indent")
		if err != nil {
			return nil, err
		}
		if err := r.makes(max(width, 0)); err != nil {
			return nil, err
		}
		spaces := strings.Repeat(" ", max(width, 0))
		style.indent = &spaces
	}
	if style.indent != nil {
		style.comma = ","
	}
	if pair, ok := given(v[2], nil).(*list); ok && len(pair.items) == 2 {
		style.comma, style.colon = r.str(pair.items[0]).s, r.str(pair.items[1]).s
	} else if given(v[2], nil) != nil {
		return nil, errors.New("separators must be two strings")
	}
	var b builder
	if err := r.writeJSON(&b, input, style); err != nil {
		return nil, err
	}
	return b.text(), nil
}
