package strictjson

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

func TestParseAcceptsOrdinaryJSON(t *testing.T) {
	got, err := Parse([]byte(` {"a": [1, 18446744073709551615, 1.5, true, null], "b": {"c": "é\u00e9\ud83d\ude00\\ud800"}} `), 8)
	want := map[string]any{
		"a": []any{json.Number("1"), json.Number("18446744073709551615"), json.Number("1.5"), true, nil},
		"b": map[string]any{"c": "éé😀\\ud800"},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %#v, %v; want %#v", got, err, want)
	}
}

func TestParseRefuses(t *testing.T) {
	cases := map[string]string{
		"nothing":                "empty",
		`{"a":1}{"b":2}`:         "after",
		`{"a":1} x`:              "after",
		`{"a":1,"a":2}`:          `"a" stands twice`,
		`{"a":{"b":1,"b":1}}`:    `"b" stands twice`,
		`{"a":1,"\u0061":2}`:     `"a" stands twice`,
		"{\"a\":\"\xff\"}":       "UTF-8",
		`{"a":"\ud800"}`:         "surrogate",
		`{"a":"\udc00"}`:         "surrogate",
		`{"a":"\ud800\u0041"}`:   "surrogate",
		`{"a":`:                  "too early",
		`{"a"`:                   "too early",
		`[1,2`:                   "too early",
		`{a:1}`:                  "malformed",
		`{"a":01}`:               "malformed",
		`{"a":1,}`:               "malformed",
		`{"a":NaN}`:              "malformed",
		strings.Repeat("[", 9):   "deeper than 8",
		strings.Repeat("[", 1e6): "deeper than 8",
	}
	for text, want := range cases {
		data := []byte(text)
		if text == "nothing" {
			data = []byte(" \n")
		}
		if value, err := Parse(data, 8); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, %v; want an error with %q", text, value, err, want)
		}
	}
}
