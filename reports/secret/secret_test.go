package secret_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"touchstone/reports/secret"
)

func TestTextHidesWhatIsNamedSecret(t *testing.T) {
	for text, want := range map[string]string{
		"server --api-key sk-1 --port 80":          "server --api-key [hidden] --port 80",
		"server --api-key=sk-1 --port 80":          "server --api-key=[hidden] --port 80",
		`server --password "a b" -x`:               "server --password [hidden] -x",
		"server --hf_token sk-1":                   "server --hf_token [hidden]",
		"OPENAI_API_KEY=sk-1 server":               "OPENAI_API_KEY=[hidden] server",
		"Authorization: Bearer sk-1":               "Authorization: Bearer [hidden]",
		`{"Authorization":["Bearer sk-1"]}`:        `{"Authorization":["Bearer [hidden]"]}`,
		"http://me:sk-1@host:80/x":                 "http://[hidden]@host:80/x",
		"server --api-key-file /run/key":           "server --api-key-file /run/key",
		"server --tokenizer bpe --max-tokens 5":    "server --tokenizer bpe --max-tokens 5",
		"the key of the map, a token event":        "the key of the map, a token event",
		"mail a@b, http://host/x@y":                "mail a@b, http://host/x@y",
		"expected token 2 to be 3, got 9":          "expected token 2 to be 3, got 9",
		`{"key": "value", "tokens_out": 5, "x":1}`: `{"key": "value", "tokens_out": 5, "x":1}`,
	} {
		if got := secret.Text(text); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

func TestValuesAreHiddenInEveryForm(t *testing.T) {
	const value = `s"k\1`
	text := `plain s"k\1, json "s\"k\\1", twice "s\\\"k\\\\1"`
	got := secret.Values(text, []string{"", value})
	if strings.Contains(got, "k") || strings.Count(got, secret.Hidden) != 3 {
		t.Errorf("%q gives %q", text, got)
	}
	if got := secret.Values("abcabc", []string{"abc", "abcabc"}); got != secret.Hidden {
		t.Errorf("a value that holds another gives %q", got)
	}
}

func TestNamedAreTheValuesOfACommand(t *testing.T) {
	got := secret.Named(`gate run --worker-cmd 'server --api-key sk-123 --key=1 --port {port}' --url http://me:hunter2@host -H "Authorization: Bearer abcdef" --token [hidden]`)
	if want := []string{"sk-123", "abcdef", "hunter2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeader(t *testing.T) {
	given := map[string][]string{"Authorization": {"Bearer x"}, "X-Api-Key": {"x"}, "Set-Cookie": {"x", "y"}, "Content-Type": {"text/plain"}}
	want := map[string][]string{"Authorization": {secret.Hidden}, "X-Api-Key": {secret.Hidden}, "Set-Cookie": {secret.Hidden, secret.Hidden},
		"Content-Type": {"text/plain"}}
	if got := secret.Header(given); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if given["Authorization"][0] != "Bearer x" {
		t.Error("the given header was changed")
	}
}
