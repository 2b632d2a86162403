// Package strict reads JSON without the liberties that let one file say two things.
package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Decode reads exactly one JSON value: unknown fields, keys that stand twice in an object, also in another case, and
// anything after the value are errors.
func Decode(data []byte, into any) error {
	if err := Check(data); err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into)
}

// Check is Decode for a value whose fields are not known.
func Check(data []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := value(decoder, ""); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

func value(decoder *json.Decoder, path string) error {
	token, err := decoder.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		return object(decoder, path)
	case json.Delim('['):
		for i := 0; decoder.More(); i++ {
			if err := value(decoder, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		_, err = decoder.Token()
	}
	return err
}

// object folds the case of keys as encoding/json does when it looks for a field.
func object(decoder *json.Decoder, path string) error {
	seen := map[string]bool{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return err
		}
		key, _ := token.(string) // the decoder takes nothing else for a key
		folded := strings.ToLower(strings.ToUpper(key))
		if seen[folded] {
			return fmt.Errorf("the key %q stands twice in %s", key, name(path))
		}
		seen[folded] = true
		if err := value(decoder, path+"."+key); err != nil {
			return err
		}
	}
	_, err := decoder.Token()
	return err
}

func name(path string) string {
	if path == "" {
		return "the document"
	}
	return strings.TrimPrefix(path, ".")
}
