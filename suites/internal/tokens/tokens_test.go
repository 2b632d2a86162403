package tokens_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"touchstone/native/gguf"
	"touchstone/suites/internal/tokens"
)

func open(t *testing.T, path string) *tokens.Tokenizer {
	t.Helper()
	file, err := gguf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	tokenizer, err := tokens.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

func expectIDs(t *testing.T, text string, got, want []int32) {
	t.Helper()
	if slices.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%.80q: first difference at token %d: got %v, want %v", text, at, got[at:min(at+6, len(got))], want[at:min(at+6, len(want))])
}

// Prompts and answers of the bundled model as Hugging Face tokenizers encoded and decoded them.
func TestBundledVocabularyAgreesWithHuggingFace(t *testing.T) {
	tokenizer := open(t, "../../../fixtures/models/haiku.gguf")
	text, err := os.ReadFile("../../../fixtures/goldens/haiku-f16.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Goldens []struct {
			Prompt     string  `json:"prompt"`
			PromptIDs  []int32 `json:"prompt_ids"`
			GreedyIDs  []int32 `json:"greedy_ids"`
			EndStep    *int    `json:"end_step"`
			GreedyText string  `json:"greedy_text"`
		} `json:"goldens"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Goldens) < 5 {
		t.Fatalf("%d goldens", len(document.Goldens))
	}
	for _, golden := range document.Goldens {
		got, err := tokenizer.EncodePrompt(golden.Prompt)
		if err != nil {
			t.Fatal(err)
		}
		expectIDs(t, golden.Prompt, got, golden.PromptIDs)
		answer := golden.GreedyIDs
		if golden.EndStep != nil {
			if end := answer[*golden.EndStep]; !tokenizer.EndsText(end) {
				t.Errorf("token %d ended the golden's text, but does not count as an end", end)
			}
			answer = answer[:*golden.EndStep]
		}
		if shown := tokenizer.Text(answer, true); shown != golden.GreedyText && slices.IndexFunc(answer, tokenizer.EndsText) < 0 {
			t.Errorf("the answer is %q, want %q", shown, golden.GreedyText)
		}
	}
}

// Ids that llama.cpp published for three vocabularies, where the files are at hand.
func TestPublishedIDs(t *testing.T) {
	folder := shared()
	for _, name := range []string{"gpt-2", "llama-spm", "phi-3"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(folder, "data", "tokenizers", "ggml-vocab-"+name+".gguf")
			if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
				t.Skipf("no vocabularies of real models: TOUCHSTONE_SHARED or ../shared does not hold %s", filepath.Base(path))
			}
			tokenizer := open(t, path)
			const separator = "\n__ggml_vocab_test__\n"
			texts := strings.Split(strings.TrimSuffix(read(t, path+".inp"), separator), separator)
			lines := strings.Split(strings.TrimSuffix(read(t, path+".out"), "\n"), "\n")
			if len(texts) != len(lines) || len(texts) < 40 {
				t.Fatalf("%d texts, %d lists of ids", len(texts), len(lines))
			}
			for i, text := range texts {
				var want []int32
				for _, field := range strings.Fields(lines[i]) {
					id, err := strconv.Atoi(field)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, int32(id))
				}
				got, err := tokenizer.Encode(text)
				if err != nil {
					t.Fatal(err)
				}
				expectIDs(t, text, got, want)
			}
		})
	}
}

// shared is where the vocabularies of real models are.
func shared() string {
	if folder := os.Getenv("TOUCHSTONE_SHARED"); folder != "" {
		return folder
	}
	return "../../../../shared"
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTextOfBrokenCharacters(t *testing.T) {
	tokenizer := open(t, "../../../fixtures/models/haiku.gguf")
	ids, err := tokenizer.Encode("é🙂")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		ids   []int32
		ended bool
		want  string
	}{
		{ids, false, "é🙂"}, {ids[:1], false, ""}, {ids[:1], true, "\uFFFD"}, {ids[:len(ids)-1], false, "é"}, {ids[:len(ids)-1], true, "é\uFFFD"},
		{ids[1:], false, "\uFFFD🙂"},
	} {
		if got := tokenizer.Text(c.ids, c.ended); got != c.want {
			t.Errorf("%v, ended %t: %q, want %q", c.ids, c.ended, got, c.want)
		}
	}
}
