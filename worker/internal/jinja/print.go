package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str is Python's str.
func (r *run) str(v value) text {
	switch v := v.(type) {
	case text:
		return v
	case *undefined:
		return text{}
	}
	return r.repr(v)
}

// repr is Python's repr.
func (r *run) repr(v value) text {
	var b builder
	r.writeRepr(&b, v)
	return b.text()
}

// put writes while the run may still make text.
func (r *run) put(b *builder, t text) {
	if r.makes(len(t.s)) == nil {
		b.write(t)
	}
}

func (r *run) writeRepr(b *builder, v value) {
	if r.step() != nil {
		return
	}
	switch v := v.(type) {
	case text:
		quote := "'"
		if strings.Contains(v.s, "'") && !strings.Contains(v.s, `"`) {
			quote = `"`
		}
		r.put(b, plain(quote))
		r.put(b, v.rewrite(func(s string) string { return quoted(s, quote[0]) }))
		r.put(b, plain(quote))
	case *list:
		if v.kind == rangeKind {
			r.put(b, plain(v.name))
			return
		}
		brackets := [...][2]string{{"[", "]"}, {"(", ")"}, {v.name + "([", "])"}}[v.kind]
		r.put(b, plain(brackets[0]))
		for i, item := range v.items {
			if i > 0 {
				r.put(b, plain(", "))
			}
			r.writeRepr(b, item)
		}
		if v.kind == tupleKind && len(v.items) == 1 {
			r.put(b, plain(","))
		}
		r.put(b, plain(brackets[1]))
	case *dict:
		r.put(b, plain("{"))
		for i, key := range v.keys {
			if i > 0 {
				r.put(b, plain(", "))
			}
			r.writeRepr(b, key)
			r.put(b, plain(": "))
			r.writeRepr(b, v.values[i])
		}
		r.put(b, plain("}"))
	default:
		r.put(b, plain(scalar(v)))
	}
}

// scalar prints values that hold no others.
func scalar(v value) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case bool:
		if v {
			return "True"
		}
		return "False"
	case int64:
		return strconv.FormatInt(v, 10)
	case *big.Int:
		return v.String()
	case float64:
		return floatText(v)
	case *undefined:
		return "Undefined"
	}
	return "<" + typeName(v) + ">"
}

// floatText is Python's repr of a float.
func floatText(x float64) string {
	switch {
	case math.IsInf(x, 1):
		return "inf"
	case math.IsInf(x, -1):
		return "-inf"
	case math.IsNaN(x):
		return "nan"
	}
	if size := math.Abs(x); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.FormatFloat(x, 'e', -1, 64)
	}
	s := strconv.FormatFloat(x, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quoted escapes a string as Python's repr does.
func quoted(s string, quote byte) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == rune(quote) || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c == 0x7f || c > 0x7f && c <= 0xff && !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\x%02x`, c)
		case unicode.IsPrint(c):
			b.WriteRune(c)
		case c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	return b.String()
}

// jsonStyle is how tojson writes: the options of Python's json.dumps.
type jsonStyle struct {
	ascii          bool
	indent         *string
	comma, colon   string
	sortKeys       bool
	currentNewline string
}

// writeJSON is json.dumps.
func (r *run) writeJSON(b *builder, v value, style jsonStyle) error {
	if err := r.step(); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		r.put(b, plain("null"))
	case bool:
		r.put(b, plain(strconv.FormatBool(v)))
	case int64, *big.Int:
		r.put(b, plain(scalar(v)))
	case float64:
		r.put(b, plain(jsonFloat(v)))
	case text:
		r.putJSONString(b, v, style.ascii)
	case *list:
		if v.kind != plainList && v.kind != tupleKind {
			return fmt.Errorf("a %s cannot be written as JSON", typeName(v))
		}
		return r.writeJSONItems(b, "[]", len(v.items), style, func(i int, inner jsonStyle) error {
			return r.writeJSON(b, v.items[i], inner)
		})
	case *dict:
		order := make([]int, len(v.keys))
		for i := range order {
			order[i] = i
		}
		if style.sortKeys {
			if err := r.sortBy(order, v.keys); err != nil {
				return err
			}
		}
		return r.writeJSONItems(b, "{}", len(v.keys), style, func(i int, inner jsonStyle) error {
			key, err := jsonKey(v.keys[order[i]])
			if err != nil {
				return err
			}
			r.putJSONString(b, key, style.ascii)
			r.put(b, plain(style.colon))
			return r.writeJSON(b, v.values[order[i]], inner)
		})
	default:
		return fmt.Errorf("a %s cannot be written as JSON", typeName(v))
	}
	return r.over
}

// writeJSONItems writes brackets, and between them count items.
func (r *run) writeJSONItems(b *builder, brackets string, count int, style jsonStyle, write func(i int, inner jsonStyle) error) error {
	r.put(b, plain(brackets[:1]))
	inner, comma := style, style.comma
	if style.indent != nil && count > 0 {
		inner.currentNewline += *style.indent
		comma += inner.currentNewline
		r.put(b, plain(inner.currentNewline))
	}
	for i := range count {
		if i > 0 {
			r.put(b, plain(comma))
		}
		if err := write(i, inner); err != nil {
			return err
		}
	}
	if style.indent != nil && count > 0 {
		r.put(b, plain(style.currentNewline))
	}
	r.put(b, plain(brackets[1:]))
	return r.over
}

func jsonKey(key value) (text, error) {
	switch key := key.(type) {
	case text:
		return key, nil
	case nil:
		return plain("null"), nil
	case bool:
		return plain(strconv.FormatBool(key)), nil
	case float64:
		return plain(jsonFloat(key)), nil
	case int64:
		return plain(scalar(key)), nil
	}
	return text{}, fmt.Errorf("a %s cannot be a key in JSON", typeName(key))
}

func jsonFloat(x float64) string {
	switch {
	case math.IsInf(x, 1):
		return "Infinity"
	case math.IsInf(x, -1):
		return "-Infinity"
	case math.IsNaN(x):
		return "NaN"
	}
	return floatText(x)
}

func (r *run) putJSONString(b *builder, t text, ascii bool) {
	r.put(b, plain(`"`))
	r.put(b, t.rewrite(func(s string) string { return jsonEscaped(s, ascii) }))
	r.put(b, plain(`"`))
}

var jsonEscapes = map[rune]string{'"': `\"`, '\\': `\\`, '\n': `\n`, '\r': `\r`, '\t': `\t`, '\b': `\b`, '\f': `\f`}

func jsonEscaped(s string, ascii bool) string {
	var b strings.Builder
	for _, c := range s {
		escape, known := jsonEscapes[c]
		switch {
		case known:
			b.WriteString(escape)
		case c < ' ', ascii && c > '~' && c <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, c)
		case ascii && c > 0xffff:
			c -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+c>>10, 0xdc00+c&0x3ff)
		default:
			b.WriteString(string(utf8.AppendRune(nil, c)))
		}
	}
	return b.String()
}
