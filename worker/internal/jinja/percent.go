package jinja

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var percentField = regexp.MustCompile(`%([-+ 0#]*)(\d*)(?:\.(\d*))?([a-zA-Z%])`)

// percentFormat is the % of Python's str for the conversions s, r, d, i, f, e, g, x, X and o.
func (r *run) percentFormat(t text, v value) (value, error) {
	arguments := []value{v}
	if tuple, ok := v.(*list); ok && tuple.kind == tupleKind {
		arguments = tuple.items
	}
	var b builder
	at, used := 0, 0
	for _, field := range percentField.FindAllStringSubmatchIndex(t.s, -1) {
		if strings.Contains(t.s[at:field[0]], "%") {
			break
		}
		r.put(&b, t.slice(at, field[0]))
		at = field[1]
		conversion := t.s[field[8]]
		if conversion == '%' {
			r.put(&b, plain("%"))
			continue
		}
		if used == len(arguments) {
			return nil, errors.New("%: not enough arguments")
		}
		flags, width, precision := t.s[field[2]:field[3]], t.s[field[4]:field[5]], substring(t.s, field[6], field[7])
		piece, err := r.percentPiece(flags, width, precision, conversion, arguments[used])
		if err != nil {
			return nil, err
		}
		r.put(&b, piece)
		used++
	}
	if strings.Contains(t.s[at:], "%") {
		return nil, errors.New("%: this format is not supported")
	}
	if _, isDict := v.(*dict); used < len(arguments) && !isDict {
		return nil, errors.New("%: more arguments than fields")
	}
	r.put(&b, t.slice(at, len(t.s)))
	return b.text(), r.over
}

func substring(s string, start, end int) string {
	if start < 0 {
		return ""
	}
	return s[start:end]
}

func (r *run) percentPiece(flags, width, precision string, conversion byte, v value) (text, error) {
	const most = 1000 // of width and precision
	for _, digits := range []string{width, precision} {
		if n, err := strconv.Atoi(digits); digits != "" && (err != nil || n > most) {
			return text{}, fmt.Errorf("%%: a width or precision above %d", most)
		}
	}
	layout := "%" + flags + width
	if precision != "" {
		layout += "." + precision
	}
	switch conversion {
	case 's', 'r':
		piece := r.str(v)
		if conversion == 'r' {
			piece = r.repr(v)
		}
		if layout == "%" {
			return piece, nil
		}
		layout = "%" + strings.ReplaceAll(layout[1:len(flags)+1], "0", "") + layout[len(flags)+1:] // a str is not padded with zeros
		return piece.sameOrigin(fmt.Sprintf(layout+"s", piece.s)), nil
	case 'd', 'i', 'x', 'X', 'o':
		n, ok := integer(v)
		if x, isFloat := v.(float64); isFloat && (conversion == 'd' || conversion == 'i') {
			n, ok = int64(x), true
		}
		if !ok {
			return text{}, operandError("%d", v)
		}
		if conversion == 'i' {
			conversion = 'd'
		}
		return plain(fmt.Sprintf(layout+string(conversion), n)), nil
	case 'f', 'F', 'e', 'E':
		x, ok := number(v)
		if !ok {
			return text{}, operandError("%f", v)
		}
		return plain(fmt.Sprintf(layout+string(conversion), x)), nil
	}
	return text{}, fmt.Errorf("%%%c is not supported", conversion)
}
