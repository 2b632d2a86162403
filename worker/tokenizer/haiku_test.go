package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// The bundled model's vocabulary: prompts as Hugging Face tokenizers encoded and decoded them for the goldens.
func TestBundledModelAgreesWithGoldens(t *testing.T) {
	const model, goldens = "../../fixtures/models/haiku.gguf", "../../fixtures/goldens/haiku-f16.json"
	for _, path := range []string{model, goldens} {
		if _, err := os.Stat(path); err != nil {
			t.Skipf("this checkout has no %s", strings.TrimPrefix(path, "../../"))
		}
	}
	tokenizer := openVocabulary(t, model)
	var document struct {
		Goldens []struct {
			Name       string  `json:"name"`
			Prompt     string  `json:"prompt"`
			PromptIDs  []int32 `json:"prompt_ids"`
			GreedyIDs  []int32 `json:"greedy_ids"`
			EndStep    *int    `json:"end_step"`
			GreedyText string  `json:"greedy_text"`
		} `json:"goldens"`
	}
	if err := json.Unmarshal([]byte(readFile(t, goldens)), &document); err != nil {
		t.Fatal(err)
	}
	if len(document.Goldens) == 0 {
		t.Fatal("the goldens are empty")
	}
	for _, golden := range document.Goldens {
		t.Run(golden.Name, func(t *testing.T) {
			ids, err := tokenizer.Encode(golden.Prompt, Options{ParseSpecial: true})
			if err != nil {
				t.Fatal(err)
			}
			expectIDs(t, tokenizer, golden.Prompt, ids, golden.PromptIDs)
			answer := golden.GreedyIDs
			if golden.EndStep != nil {
				answer = answer[:*golden.EndStep]
				if end := golden.GreedyIDs[*golden.EndStep]; !tokenizer.IsEndOfText(end) {
					t.Errorf("token %d ended the golden's text, but does not count as end of text", end)
				}
			}
			if got := tokenizer.Decode(answer); !slices.ContainsFunc(answer, tokenizer.IsControl) && got != golden.GreedyText {
				t.Errorf("the answer decodes to %q, want %q", got, golden.GreedyText)
			}
		})
	}
}
