package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
)

// compareJSON lists the values in which two JSON documents differ, by their paths in file. The
// elements of a list are matched by their id, text or name where they have one.
func compareJSON(file string, got, want []byte) []string {
	gotValue, err := decodeAny(got)
	if err != nil {
		return []string{fmt.Sprintf("%s: not JSON: %v", file, err)}
	}
	wantValue, err := decodeAny(want)
	if err != nil {
		return []string{fmt.Sprintf("%s: not JSON: %v", file, err)}
	}
	comparison := comparison{file: file}
	comparison.values("", gotValue, wantValue)
	return comparison.differences
}

func decodeAny(data []byte) (any, error) {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	err := decoder.Decode(&value)
	return value, err
}

type comparison struct {
	file        string
	differences []string
}

func (c *comparison) differ(path, format string, args ...any) {
	c.differences = append(c.differences, fmt.Sprintf("%s: %s: %s", c.file, path, fmt.Sprintf(format, args...)))
}

func (c *comparison) values(path string, got, want any) {
	switch want := want.(type) {
	case map[string]any:
		if got, ok := got.(map[string]any); ok {
			c.objects(path, got, want)
			return
		}
	case []any:
		if got, ok := got.([]any); ok {
			c.lists(path, got, want)
			return
		}
	}
	if !reflect.DeepEqual(got, want) {
		c.differ(path, "the report says %s, the evidence gives %s", show(got), show(want))
	}
}

func (c *comparison) objects(path string, got, want map[string]any) {
	join := func(key string) string {
		if path == "" {
			return key
		}
		return path + "." + key
	}
	for _, key := range sortedKeys(want) {
		if value, found := got[key]; found {
			c.values(join(key), value, want[key])
		} else {
			c.differ(join(key), "it is missing, the evidence gives %s", show(want[key]))
		}
	}
	for _, key := range sortedKeys(got) {
		if _, found := want[key]; !found {
			c.differ(join(key), "the report says %s, the evidence gives nothing", show(got[key]))
		}
	}
}

func (c *comparison) lists(path string, got, want []any) {
	gotByName, gotNamed := byName(got)
	wantByName, wantNamed := byName(want)
	if gotNamed && wantNamed {
		c.named(path, gotByName, wantByName)
		return
	}
	for i := range max(len(got), len(want)) {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case i >= len(got):
			c.differ(at, "it is missing, the evidence gives %s", show(want[i]))
		case i >= len(want):
			c.differ(at, "the report says %s, the evidence gives nothing", show(got[i]))
		default:
			c.values(at, got[i], want[i])
		}
	}
}

func (c *comparison) named(path string, got, want map[string]any) {
	for _, name := range sortedKeys(want) {
		at := fmt.Sprintf("%s[%s]", path, name)
		if value, found := got[name]; found {
			c.values(at, value, want[name])
		} else {
			c.differ(at, "it is missing")
		}
	}
	for _, name := range sortedKeys(got) {
		if _, found := want[name]; !found {
			c.differ(fmt.Sprintf("%s[%s]", path, name), "the evidence has none")
		}
	}
}

// byName indexes a list of objects by id, text or name, if each has a different one.
func byName(list []any) (map[string]any, bool) {
	index := map[string]any{}
	for _, element := range list {
		object, ok := element.(map[string]any)
		if !ok {
			return nil, false
		}
		name := ""
		for _, key := range []string{"id", "text", "name"} {
			if value, ok := object[key].(string); ok {
				name = value
				break
			}
		}
		if _, twice := index[name]; name == "" || twice {
			return nil, false
		}
		index[name] = element
	}
	return index, true
}

func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return clip(fmt.Sprint(value))
	}
	return clip(string(text))
}

// clip keeps a message to one readable line.
func clip(text string) string {
	if runes := []rune(text); len(runes) > 120 {
		return string(runes[:120]) + "…"
	}
	return text
}
