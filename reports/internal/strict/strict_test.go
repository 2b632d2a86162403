package strict_test

import (
	"strings"
	"testing"

	"touchstone/reports/internal/strict"
)

func TestDecode(t *testing.T) {
	for text, want := range map[string]string{
		`{"a": 1, "b": [{"a": 2}, {"a": 3}]}`: "",
		`{"a": 1} `:                           "",
		`{"a": 1, "a": 1}`:                    `the key "a" stands twice in the document`,
		`{"a": 1, "A": 1}`:                    `the key "A" stands twice in the document`,
		`{"b": [{"a": 1}, {"a": 1, "a": 2}]}`: `the key "a" stands twice in b[1]`,
		`{"a": 1} {"a": 2}`:                   "something follows",
		`{"a": 1}x`:                           "something follows",
		`{"a": 1, "c": 2}`:                    `unknown field "c"`,
		`{"a": `:                              "EOF",
		``:                                    "EOF",
	} {
		var into struct {
			A int
			B any
		}
		err := strict.Decode([]byte(text), &into)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, want %q", text, err, want)
		}
	}
}
