package jinja

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
)

// Value is a value that a template is rendered with.
type Value struct{ v value }

// Own is text that the model's side wrote, such as the name of a role: it counts as the template's.
func Own(s string) Value { return Value{plain(s)} }

// Data is text that somebody else wrote, such as the content of a message.
func Data(s string) Value { return Value{fromData(s)} }

// Bool is a truth value.
func Bool(b bool) Value { return Value{b} }

// None is Python's None.
func None() Value { return Value{nil} }

// List is a list.
func List(items ...Value) Value {
	l := &list{items: make([]value, len(items))}
	for i, item := range items {
		l.items[i] = item.v
	}
	return Value{l}
}

// Entry is an entry of a Dict.
type Entry struct {
	Key   string
	Value Value
}

// Dict is a dict with its entries in order. Its keys count as the template's.
func Dict(entries ...Entry) Value {
	d := newDict()
	for _, e := range entries {
		_ = d.set(&run{}, plain(e.Key), e.Value.v) // a text can be a key
	}
	return Value{d}
}

// maxJSONDepth bounds how deep lists and objects of JSON are nested.
const maxJSONDepth = 100

// FromJSON reads JSON, whose objects keep their order. All its texts are data.
func FromJSON(data []byte) (Value, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	v, err := readJSON(decoder, 0)
	if err != nil {
		return Value{}, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Value{}, errors.New("more follows the JSON value")
	}
	return Value{v}, nil
}

func readJSON(decoder *json.Decoder, depth int) (value, error) {
	if depth > maxJSONDepth {
		return nil, fmt.Errorf("the JSON is nested more than %d levels deep", maxJSONDepth)
	}
	next, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch next := next.(type) {
	case string:
		return fromData(next), nil
	case json.Number:
		return jsonNumber(next)
	case json.Delim:
		if next == '[' {
			l := &list{}
			for decoder.More() {
				item, err := readJSON(decoder, depth+1)
				if err != nil {
					return nil, err
				}
				l.items = append(l.items, item)
			}
			_, err := decoder.Token()
			return l, err
		}
		d := newDict()
		for decoder.More() {
			key, err := decoder.Token()
			if err != nil {
				return nil, err
			}
			v, err := readJSON(decoder, depth+1)
			if err != nil {
				return nil, err
			}
			if err := d.set(&run{}, fromData(key.(string)), v); err != nil { // the decoder gives strings here alone
				return nil, err
			}
		}
		_, err := decoder.Token()
		return d, err
	}
	return next, nil // nil or a bool
}

func jsonNumber(n json.Number) (value, error) {
	if whole, err := n.Int64(); err == nil {
		return whole, nil
	}
	if large, ok := new(big.Int).SetString(n.String(), 10); ok {
		return large, nil
	}
	return n.Float64()
}
