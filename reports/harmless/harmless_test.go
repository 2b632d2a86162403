package harmless_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"touchstone/reports/harmless"
)

func TestText(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"plain text", "tokens differ\n\tat 3", "tokens differ\n\tat 3"},
		{"other scripts", "日本語 · नमस्ते · 👩‍💻", "日本語 · नमस्ते · 👩‍💻"},
		{"Windows lines", "a\r\nb", "a\nb"},
		{"a carriage return", "FAIL\rPASS", "FAIL\uFFFDPASS"},
		{"ANSI colours", "\x1b[32mPASS\x1b[0m", "\uFFFD[32mPASS\uFFFD[0m"},
		{"an eight-bit control character", "\u009b32m", "\uFFFD32m"},
		{"a title for the terminal", "\x1b]0;x\x07", "\uFFFD]0;x\uFFFD"},
		{"bytes that are no UTF-8", "a\xffb", "a\uFFFDb"},
		{"right-to-left override", "\u202eSSAP", "\uFFFDSSAP"},
		{"a line separator", "a\u2028::error::b", "a\uFFFD::error::b"},
		{"a workflow command", "::stop-commands::x", ": :stop-commands::x"},
		{"a workflow command on a later line", "a\n \u00a0::error::b", "a\n \u00a0: :error::b"},
		{"colons within a line", "a ::error::b", "a ::error::b"},
		{"an old workflow command", "a ##[error]b", "a # #[error]b"},
		{"a command of Azure Pipelines", "##vso[task.complete]", "# #vso[task.complete]"},
	} {
		if got := harmless.Text(c.text); got != c.want {
			t.Errorf("%s: %q gives %q, want %q", c.name, c.text, got, c.want)
		}
	}
}

func TestLineIsOneLine(t *testing.T) {
	if got, want := harmless.Line(" worker\n::error::x\ty \n"), "worker : :error::x y"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := harmless.Line("\n\t::error::x"); strings.HasPrefix(got, "::") {
		t.Errorf("%q begins as a command does", got)
	}
}

// inner and outer have a string in every place in which a result has one.
type inner struct {
	Text string
	kept string
}
type outer struct {
	Inner   inner
	Pointer *inner
	Nothing *inner
	List    []string
	Any     any
	Map     map[string][]string
	At      time.Time
	Number  json.Number
}

func TestEachReachesEveryString(t *testing.T) {
	at := time.Date(2030, 1, 31, 0, 0, 0, 0, time.UTC)
	value := outer{
		Inner: inner{"a", "a"}, Pointer: &inner{"a", "a"}, List: []string{"a"}, At: at, Number: "1",
		Any: map[string]any{"a": []any{"a", json.Number("2"), nil, true}}, Map: map[string][]string{"a": {"a"}},
	}
	harmless.Each(&value, func(text string) string { return strings.ReplaceAll(text, "a", "b") })
	want := outer{
		Inner: inner{"b", "a"}, Pointer: &inner{"b", "a"}, List: []string{"b"}, At: at, Number: "1",
		Any: map[string]any{"b": []any{"b", json.Number("2"), nil, true}}, Map: map[string][]string{"b": {"b"}},
	}
	if !reflect.DeepEqual(value, want) {
		t.Errorf("got %+v, want %+v", value, want)
	}
}
