// Package strictjson parses JSON from strangers: one value, valid UTF-8, no duplicate keys, no lone surrogates, bounded
// depth (RFC 8259 with the choices of RFC 7493, I-JSON). Numbers keep their text, so that 64-bit integers stay exact.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Parse returns the value in data: nil, bool, string, json.Number, []any or map[string]any. Nesting beyond maxDepth is an
// error, as is everything that the package refuses.
func Parse(data []byte, maxDepth int) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("the body is not valid UTF-8")
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the body is empty")
	}
	if err := checkSurrogates(data); err != nil {
		return nil, err
	}
	p := parser{decoder: json.NewDecoder(bytes.NewReader(data)), maxDepth: maxDepth}
	p.decoder.UseNumber()
	value, err := p.value(0)
	if err != nil {
		return nil, describe(err)
	}
	if _, err := p.decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("there is something after the JSON value, at byte %d", p.decoder.InputOffset())
	}
	return value, nil
}

type parser struct {
	decoder  *json.Decoder
	maxDepth int
}

func (p *parser) value(depth int) (any, error) {
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	opening, nested := token.(json.Delim)
	if !nested {
		return token, nil
	}
	if depth == p.maxDepth {
		return nil, fmt.Errorf("the JSON is nested deeper than %d levels", p.maxDepth)
	}
	if opening == '[' {
		return p.array(depth + 1)
	}
	return p.object(depth + 1)
}

func (p *parser) array(depth int) (any, error) {
	array := []any{}
	for p.decoder.More() {
		element, err := p.value(depth)
		if err != nil {
			return nil, err
		}
		array = append(array, element)
	}
	_, err := p.decoder.Token()
	return array, err
}

func (p *parser) object(depth int) (any, error) {
	object := map[string]any{}
	for p.decoder.More() {
		token, err := p.decoder.Token()
		if err != nil {
			return nil, err
		}
		key := token.(string) // the decoder refuses other keys
		if _, exists := object[key]; exists {
			return nil, fmt.Errorf("the key %q stands twice in one object", key)
		}
		if object[key], err = p.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := p.decoder.Token()
	return object, err
}

// describe turns the decoder's errors into words.
func describe(err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the JSON ends too early")
	case errors.As(err, &syntax):
		return fmt.Errorf("malformed JSON at byte %d: %w", syntax.Offset, err)
	}
	return err
}

// checkSurrogates refuses \u escapes of half a character, which the decoder would silently replace.
func checkSurrogates(data []byte) error {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		unit, ok := escapedUnit(data[i:])
		switch {
		case !ok:
			i++ // an escape of one character, which may be a backslash
		case unit >= 0xDC00 && unit < 0xE000:
			return fmt.Errorf("the escape at byte %d is half a character (lone surrogate)", i)
		case unit >= 0xD800 && unit < 0xDC00:
			if low, ok := escapedUnit(data[min(i+6, len(data)):]); !ok || low < 0xDC00 || low >= 0xE000 {
				return fmt.Errorf("the escape at byte %d is half a character (lone surrogate)", i)
			}
			i += 11
		default:
			i += 5
		}
	}
	return nil
}

// escapedUnit reads the UTF-16 unit of a \uXXXX escape at the beginning of data.
func escapedUnit(data []byte) (unit uint16, ok bool) {
	if len(data) < 6 || data[0] != '\\' || data[1] != 'u' {
		return 0, false
	}
	if _, err := fmt.Sscanf(string(data[2:6]), "%04x", &unit); err != nil {
		return 0, false
	}
	return unit, true
}
