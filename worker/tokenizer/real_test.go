package tokenizer

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"touchstone/native/gguf"
)

// sharedFile gives the path of a test datum, or skips the test where the data are not installed.
func sharedFile(t testing.TB, parts ...string) string {
	t.Helper()
	shared := os.Getenv("TOUCHSTONE_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	path := filepath.Join(append([]string{shared, "data", "tokenizers"}, parts...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no vocabularies of real models: TOUCHSTONE_SHARED or ../shared does not hold %s", filepath.Join(parts...))
	}
	return path
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func openVocabulary(t testing.TB, path string) Tokenizer {
	t.Helper()
	f, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tokenizer, err := FromGGUF(f)
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// cases reads texts and expected ids in the form of llama.cpp's tests.
func cases(t testing.TB, base string) (texts []string, ids [][]int32) {
	t.Helper()
	const separator = "\n__ggml_vocab_test__\n" // also after the last text
	texts = strings.Split(strings.TrimSuffix(readFile(t, base+".inp"), separator), separator)
	for line := range strings.Lines(readFile(t, base+".out")) {
		var row []int32
		for _, field := range strings.Fields(line) {
			id, err := strconv.ParseInt(field, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			row = append(row, int32(id))
		}
		ids = append(ids, row)
	}
	if len(texts) != len(ids) || len(texts) < 40 {
		t.Fatalf("%s: %d texts, %d lists of ids", base, len(texts), len(ids))
	}
	return texts, ids
}

// Ids that llama.cpp published for the vocabularies of GPT-2, Llama 2 and Phi-3.
func TestPublishedIDs(t *testing.T) {
	for _, name := range []string{"gpt-2", "llama-spm", "phi-3"} {
		t.Run(name, func(t *testing.T) {
			path := sharedFile(t, "ggml-vocab-"+name+".gguf")
			tokenizer := openVocabulary(t, path)
			texts, want := cases(t, path)
			for i, text := range texts {
				got, err := tokenizer.Encode(text, Options{})
				if err != nil {
					t.Errorf("%q: %v", text, err)
					continue
				}
				expectIDs(t, tokenizer, text, got, want[i])
				if back := tokenizer.Decode(got); back != text {
					t.Errorf("%q comes back as %q", text, back)
				}
			}
		})
	}
}

// expectIDs names the first id that differs.
func expectIDs(t testing.TB, tokenizer Tokenizer, text string, got, want []int32) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("%.80q: first difference at token %d: got %v (%q), want %v (%q)", text, i,
				got[i:min(i+5, len(got))], tokenizer.Decode(got[i:min(i+5, len(got))]),
				want[i:min(i+5, len(want))], tokenizer.Decode(want[i:min(i+5, len(want))]))
			return
		}
	}
}
