package jinja

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// missingFunctions are functions of Jinja2 that are not here. A template that calls one is refused when it is read.
var missingFunctions = []string{"cycler", "joiner", "lipsum", "self", "super"}

// maxRange bounds range() as Jinja2's sandbox does.
const maxRange = 100_000

// RaisedError is what a template says of data that it refuses.
type RaisedError struct{ Message string }

// Error gives the message.
func (e *RaisedError) Error() string { return e.Message }

var globals = map[string]value{
	"range": &function{"range", rangeFunction},
	"dict": &function{"dict", func(r *run, a args) (value, error) {
		return r.newDictFrom(a)
	}},
	"namespace": &function{"namespace", func(r *run, a args) (value, error) {
		d, err := r.newDictFrom(a)
		if err != nil {
			return nil, err
		}
		space := &namespace{map[string]value{}}
		for i, key := range d.keys {
			if err := space.set(r.str(key).s, d.values[i]); err != nil {
				return nil, err
			}
		}
		return space, nil
	}},
	"raise_exception": &function{"raise_exception", func(r *run, a args) (value, error) {
		v, err := a.bind("raise_exception", "message")
		if err != nil {
			return nil, err
		}
		return nil, &RaisedError{r.str(v[0]).s}
	}},
	"strftime_now": &function{"strftime_now", func(r *run, a args) (value, error) {
		v, err := a.bind("strftime_now", "format")
		if err != nil {
			return nil, err
		}
		format, err := textArgument(v[0], "the format")
		if err != nil {
			return nil, err
		}
		if err := r.makesTimes(len(format.s), 32); err != nil {
			return nil, err
		}
		s, err := strftime(r.now, format.s)
		return plain(s), err
	}},
}

// newDictFrom is Python's dict(mapping, **named).
func (r *run) newDictFrom(a args) (*dict, error) {
	d := newDict()
	for _, v := range a.positional {
		if u, ok := v.(*undefined); ok {
			return nil, u.err()
		}
		from, ok := v.(*dict)
		pairs := v
		if ok {
			if err := r.makes(valueBytes * len(from.keys)); err != nil {
				return nil, err
			}
			pairs = &list{items: from.items()}
		}
		items, err := r.iterate(pairs)
		if err != nil {
			return nil, err
		}
		for _, item := range items {
			pair, err := r.iterate(item)
			if err != nil {
				return nil, err
			}
			if len(pair) != 2 {
				return nil, errors.New("dict needs pairs")
			}
			if err := d.set(r, pair[0], pair[1]); err != nil {
				return nil, err
			}
		}
	}
	for _, name := range a.order {
		if err := d.set(r, plain(name), a.named[name]); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func rangeFunction(r *run, a args) (value, error) {
	if len(a.positional) < 1 || len(a.positional) > 3 || len(a.named) > 0 {
		return nil, errors.New("range takes 1 to 3 integers")
	}
	bounds := [3]int64{0, 0, 1}
	for i, v := range a.positional {
		n, ok := integer(v)
		if !ok {
			return nil, operandError("range", v)
		}
		bounds[i] = n
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	if len(a.positional) == 1 {
		start, stop = 0, start
	}
	if step == 0 {
		return nil, errors.New("range: the step is 0")
	}
	counted := &list{kind: rangeKind, name: fmt.Sprintf("range(%d, %d)", start, stop)}
	if step != 1 {
		counted.name = fmt.Sprintf("range(%d, %d, %d)", start, stop, step)
	}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; {
		if len(counted.items) == maxRange {
			return nil, fmt.Errorf("range: more than %d items", maxRange)
		}
		counted.items = append(counted.items, i)
		next := i + step
		if next > i != (step > 0) {
			break
		}
		i = next
	}
	return counted, r.makes(valueBytes * len(counted.items))
}

// strftimeLayouts are Go's layouts for the directives of strftime.
var strftimeLayouts = map[byte]string{
	'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002",
	'B': "January", 'b': "Jan", 'h': "Jan", 'A': "Monday", 'a': "Mon", 'z': "-0700", 'Z': "MST", 'F': "2006-01-02", 'T': "15:04:05",
	'D': "01/02/06", 'R': "15:04", 'c': "Mon Jan _2 15:04:05 2006", 'x': "01/02/06", 'X': "15:04:05", 'f': "000000",
}

// strftime formats a time as C does in the locale "C"; a dash takes the zero before a number away.
func strftime(now time.Time, format string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		short := format[i] == '-' && i+1 < len(format)
		if short {
			i++
		}
		layout, known := strftimeLayouts[format[i]]
		switch {
		case format[i] == '%':
			b.WriteByte('%')
		case format[i] == 'f':
			fmt.Fprintf(&b, "%06d", now.Nanosecond()/1000)
		case !known:
			return "", fmt.Errorf("strftime_now: %%%c is not supported", format[i])
		case short:
			number := strings.TrimLeft(now.Format(layout), "0 ")
			if number == "" {
				number = "0"
			}
			b.WriteString(number)
		default:
			b.WriteString(now.Format(layout))
		}
	}
	return b.String(), nil
}
