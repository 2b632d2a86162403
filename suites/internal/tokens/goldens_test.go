package tokens_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"touchstone/native/gguf"
	"touchstone/suites/internal/tokens"
)

// testdata holds small vocabularies, and ids that Hugging Face tokenizers and SentencePiece gave for them.
const testdata = "../../../worker/tokenizer/testdata"

type goldens struct {
	Texts        []string             `json:"texts"`
	SpecialTexts []string             `json:"special_texts"`
	BPE          [][]int32            `json:"bpe"` // null where the text names a special token
	BPESpecial   [][]int32            `json:"bpe_special"`
	SPM          [][]int32            `json:"spm"`
	Llama        map[string][][]int32 `json:"llama"`
}

func readJSON(t *testing.T, path string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(read(t, path)), into); err != nil {
		t.Fatal(err)
	}
}

// inMemory is a tokenizer of metadata alone.
func inMemory(t *testing.T, metadata ...gguf.KeyValue) *tokens.Tokenizer {
	t.Helper()
	var buffer bytes.Buffer
	if err := gguf.Write(&buffer, metadata, nil); err != nil {
		t.Fatal(err)
	}
	file, err := gguf.Parse(buffer.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	tokenizer, err := tokens.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

func expectAll(t *testing.T, encode func(string) ([]int32, error), texts []string, want [][]int32) {
	t.Helper()
	if len(texts) != len(want) || len(texts) == 0 {
		t.Fatalf("%d texts, %d lists of ids", len(texts), len(want))
	}
	for i, text := range texts {
		if want[i] == nil {
			continue
		}
		got, err := encode(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		expectIDs(t, text, got, want[i])
	}
}

func TestSmallBPEAgreesWithHuggingFace(t *testing.T) {
	var file struct {
		AddedTokens []struct{ ID int32 } `json:"added_tokens"`
		Model       struct {
			Vocab  map[string]int32
			Merges [][2]string
		}
	}
	var want goldens
	readJSON(t, filepath.Join(testdata, "bpe.json"), &file)
	readJSON(t, filepath.Join(testdata, "goldens.json"), &want)
	names, types := make([]string, len(file.Model.Vocab)), make([]int32, len(file.Model.Vocab))
	for name, id := range file.Model.Vocab {
		names[id], types[id] = name, 1
	}
	for _, added := range file.AddedTokens {
		types[added.ID] = 3
	}
	var merges []string
	for _, pair := range file.Model.Merges {
		merges = append(merges, pair[0]+" "+pair[1])
	}
	tokenizer := inMemory(t, gguf.KeyValue{Key: "tokenizer.ggml.model", Value: "gpt2"}, gguf.KeyValue{Key: "tokenizer.ggml.pre", Value: "qwen2"},
		gguf.KeyValue{Key: "tokenizer.ggml.tokens", Value: names}, gguf.KeyValue{Key: "tokenizer.ggml.token_type", Value: types},
		gguf.KeyValue{Key: "tokenizer.ggml.merges", Value: merges})
	expectAll(t, tokenizer.Encode, want.Texts, want.BPE)
	expectAll(t, tokenizer.EncodePrompt, want.SpecialTexts, want.BPESpecial)
}

func TestSmallSPMAgreesWithSentencePiece(t *testing.T) {
	var file struct {
		Tokens []string
		Scores []float32
		Types  []int32
	}
	var want goldens
	readJSON(t, filepath.Join(testdata, "spm.json"), &file)
	readJSON(t, filepath.Join(testdata, "goldens.json"), &want)
	tokenizer := inMemory(t, gguf.KeyValue{Key: "tokenizer.ggml.model", Value: "llama"}, gguf.KeyValue{Key: "tokenizer.ggml.tokens", Value: file.Tokens},
		gguf.KeyValue{Key: "tokenizer.ggml.scores", Value: file.Scores}, gguf.KeyValue{Key: "tokenizer.ggml.token_type", Value: file.Types},
		gguf.KeyValue{Key: "tokenizer.ggml.unknown_token_id", Value: uint32(0)})
	expectAll(t, tokenizer.Encode, want.Texts, want.SPM)
}

// The ways to split on a vocabulary of 128,000 tokens, where it is at hand.
func TestSplitsAgreeWithHuggingFace(t *testing.T) {
	folder := filepath.Join(shared(), "data", "tokenizers", "llama3.2")
	if _, err := os.Stat(folder); errors.Is(err, fs.ErrNotExist) {
		t.Skip("no vocabularies of real models: TOUCHSTONE_SHARED or ../shared does not hold llama3.2")
	}
	var ids map[string]int32
	var want goldens
	readJSON(t, filepath.Join(folder, "encoder.json"), &ids)
	readJSON(t, filepath.Join(testdata, "goldens.json"), &want)
	names := make([]string, len(ids))
	for name, id := range ids {
		names[id] = name
	}
	merges := strings.Split(strings.TrimSuffix(read(t, filepath.Join(folder, "vocab.bpe")), "\n"), "\n")
	if len(want.Llama) != 4 {
		t.Fatalf("goldens of %d expressions, want 4", len(want.Llama))
	}
	for pre, ids := range want.Llama {
		t.Run(pre, func(t *testing.T) {
			tokenizer := inMemory(t, gguf.KeyValue{Key: "tokenizer.ggml.model", Value: "gpt2"}, gguf.KeyValue{Key: "tokenizer.ggml.pre", Value: pre},
				gguf.KeyValue{Key: "tokenizer.ggml.tokens", Value: names}, gguf.KeyValue{Key: "tokenizer.ggml.merges", Value: merges})
			expectAll(t, tokenizer.Encode, want.Texts, ids)
		})
	}
}
