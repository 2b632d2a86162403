package tokenizer

import (
	"slices"
	"testing"

	"touchstone/native/gguf"
)

func encodeWith(t *testing.T, metadata []gguf.KeyValue, text string) []int32 {
	t.Helper()
	tokenizer, err := FromGGUF(toGGUF(t, metadata))
	if err != nil {
		t.Fatal(err)
	}
	ids, err := tokenizer.Encode(text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestMergesGoByRankThenFromTheLeft(t *testing.T) {
	bpe := func(tokens, merges []string) []gguf.KeyValue {
		return []gguf.KeyValue{
			{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.tokens", Value: tokens}, {Key: "tokenizer.ggml.merges", Value: merges},
		}
	}
	spm := func(tokens []string, scores []float32) []gguf.KeyValue {
		return []gguf.KeyValue{
			{Key: "tokenizer.ggml.model", Value: "llama"}, {Key: "tokenizer.ggml.tokens", Value: tokens},
			{Key: "tokenizer.ggml.scores", Value: scores}, {Key: "tokenizer.ggml.add_space_prefix", Value: false},
		}
	}
	letters := []string{"a", "b", "c", "ab", "bc"}
	for _, c := range []struct {
		name, text string
		metadata   []gguf.KeyValue
		want       []int32
	}{
		{"bpe, equal ranks", "aaa", bpe([]string{"a", "aa"}, []string{"a a"}), []int32{1, 0}},
		{"bpe, left first", "abc", bpe(letters, []string{"a b", "b c"}), []int32{3, 2}},
		{"bpe, right first", "abc", bpe(letters, []string{"b c", "a b"}), []int32{0, 4}},
		{"spm, equal scores", "aaa", spm([]string{"a", "aa"}, []float32{0, 0}), []int32{1, 0}},
		{"spm, left better", "abc", spm(letters, []float32{0, 0, 0, -1, -2}), []int32{3, 2}},
		{"spm, right better", "abc", spm(letters, []float32{0, 0, 0, -2, -1}), []int32{0, 4}},
	} {
		if got := encodeWith(t, c.metadata, c.text); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q gives %v, want %v", c.name, c.text, got, c.want)
		}
	}
}

// Text never merges into a control token, even where the vocabulary has every step on the way.
func TestTextNeverBecomesControl(t *testing.T) {
	got := encodeWith(t, []gguf.KeyValue{
		{Key: "tokenizer.ggml.model", Value: "llama"}, {Key: "tokenizer.ggml.tokens", Value: []string{"<", "s", ">", "<s", "<s>"}},
		{Key: "tokenizer.ggml.scores", Value: []float32{0, 0, 0, -1, -2}}, {Key: "tokenizer.ggml.token_type", Value: []int32{1, 1, 1, 1, 3}},
		{Key: "tokenizer.ggml.add_space_prefix", Value: false}, {Key: "tokenizer.ggml.add_bos_token", Value: false},
	}, "<s>")
	if want := []int32{3, 2}; !slices.Equal(got, want) {
		t.Errorf("spm: %v, want %v", got, want)
	}
	_, err := FromGGUF(toGGUF(t, []gguf.KeyValue{
		{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.tokens", Value: []string{"<", ">", "<>"}},
		{Key: "tokenizer.ggml.merges", Value: []string{"< >"}}, {Key: "tokenizer.ggml.token_type", Value: []int32{1, 1, 3}},
	}))
	if err == nil {
		t.Error("bpe: a merge into a control token was taken")
	}
}

func TestSplitKeepsWhatLiesBetweenMatches(t *testing.T) {
	pre, err := findPreTokenizer("smollm")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pre.split("ab12 3c\xff4")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"ab", "1", "2", " ", "3", "c", "\xff", "4"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
