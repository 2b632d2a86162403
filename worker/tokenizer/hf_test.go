package tokenizer

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"touchstone/native/gguf"
)

// goldens are ids that Hugging Face tokenizers and SentencePiece gave; testdata/make.py made them.
type goldens struct {
	Texts        []string             `json:"texts"`
	SpecialTexts []string             `json:"special_texts"`
	BPE          [][]int32            `json:"bpe"` // null where the text names a special token
	BPESpecial   [][]int32            `json:"bpe_special"`
	SPM          [][]int32            `json:"spm"`
	Llama        map[string][][]int32 `json:"llama"`
}

func readGoldens(t testing.TB) goldens {
	t.Helper()
	var g goldens
	if err := json.Unmarshal([]byte(readFile(t, "testdata/goldens.json")), &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// toGGUF builds a model file in memory with metadata alone.
func toGGUF(t testing.TB, metadata []gguf.KeyValue) *gguf.File {
	t.Helper()
	var b bytes.Buffer
	if err := gguf.Write(&b, metadata, nil); err != nil {
		t.Fatal(err)
	}
	f, err := gguf.Parse(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func smallBPE(t testing.TB) Tokenizer {
	t.Helper()
	tokenizer, err := FromTokenizerJSON([]byte(readFile(t, "testdata/bpe.json")))
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// smallBPEAsGGUF is the same vocabulary by way of a GGUF file.
func smallBPEAsGGUF(t testing.TB) Tokenizer {
	t.Helper()
	var file tokenizerFile
	if err := json.Unmarshal([]byte(readFile(t, "testdata/bpe.json")), &file); err != nil {
		t.Fatal(err)
	}
	tokens, types := make([]string, len(file.Model.Vocab)), make([]int32, len(file.Model.Vocab))
	for name, id := range file.Model.Vocab {
		tokens[id], types[id] = name, int32(typeNormal)
	}
	for _, added := range file.AddedTokens {
		types[added.ID] = int32(typeControl)
	}
	var merges []string
	for _, m := range file.Model.Merges {
		merges = append(merges, m[0]+" "+m[1])
	}
	tokenizer, err := FromGGUF(toGGUF(t, []gguf.KeyValue{
		{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: "qwen2"},
		{Key: "tokenizer.ggml.tokens", Value: tokens}, {Key: "tokenizer.ggml.token_type", Value: types},
		{Key: "tokenizer.ggml.merges", Value: merges}, {Key: "tokenizer.ggml.eos_token_id", Value: uint32(0)},
		{Key: "tokenizer.ggml.bos_token_id", Value: uint32(1)}, {Key: "tokenizer.ggml.add_bos_token", Value: true},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// spmMetadata describes the small SentencePiece vocabulary of testdata/spm.json.
func spmMetadata(t testing.TB) []gguf.KeyValue {
	t.Helper()
	var file struct {
		Tokens []string
		Scores []float32
		Types  []int32
	}
	if err := json.Unmarshal([]byte(readFile(t, "testdata/spm.json")), &file); err != nil {
		t.Fatal(err)
	}
	return []gguf.KeyValue{
		{Key: "tokenizer.ggml.model", Value: "llama"}, {Key: "tokenizer.ggml.tokens", Value: file.Tokens},
		{Key: "tokenizer.ggml.scores", Value: file.Scores}, {Key: "tokenizer.ggml.token_type", Value: file.Types},
		{Key: "tokenizer.ggml.unknown_token_id", Value: uint32(0)}, {Key: "tokenizer.ggml.bos_token_id", Value: uint32(1)},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)},
	}
}

func smallSPM(t testing.TB) Tokenizer {
	t.Helper()
	tokenizer, err := FromGGUF(toGGUF(t, spmMetadata(t)))
	if err != nil {
		t.Fatal(err)
	}
	return tokenizer
}

// expectAll compares all texts; a nil list is passed over.
func expectAll(t *testing.T, tokenizer Tokenizer, options Options, texts []string, want [][]int32) {
	t.Helper()
	if len(texts) != len(want) || len(texts) == 0 {
		t.Fatalf("%d texts, %d lists of ids", len(texts), len(want))
	}
	for i, text := range texts {
		if want[i] == nil {
			continue
		}
		got, err := tokenizer.Encode(text, options)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		expectIDs(t, tokenizer, text, got, want[i])
	}
}

func TestSmallBPEAgreesWithHuggingFace(t *testing.T) {
	g := readGoldens(t)
	for name, tokenizer := range map[string]Tokenizer{"tokenizer.json": smallBPE(t), "GGUF": smallBPEAsGGUF(t)} {
		t.Run(name, func(t *testing.T) {
			expectAll(t, tokenizer, Options{}, g.Texts, g.BPE)
			expectAll(t, tokenizer, Options{ParseSpecial: true}, g.Texts, g.BPE)
			expectAll(t, tokenizer, Options{ParseSpecial: true}, g.SpecialTexts, g.BPESpecial)
		})
	}
}

func TestSmallSPMAgreesWithSentencePiece(t *testing.T) {
	g := readGoldens(t)
	expectAll(t, smallSPM(t), Options{}, g.Texts, g.SPM)
}

// The splitting expressions on a vocabulary of 128,000 tokens, as Hugging Face tokenizers apply them.
func TestSplitsOnLlamasVocabulary(t *testing.T) {
	vocabulary := readFile(t, sharedFile(t, "llama3.2", "encoder.json"))
	merges := strings.Split(strings.TrimSuffix(readFile(t, sharedFile(t, "llama3.2", "vocab.bpe")), "\n"), "\n")
	var ids map[string]int32
	if err := json.Unmarshal([]byte(vocabulary), &ids); err != nil {
		t.Fatal(err)
	}
	tokens := make([]string, len(ids))
	for name, id := range ids {
		tokens[id] = name
	}
	g := readGoldens(t)
	if len(g.Llama) != 4 {
		t.Fatalf("goldens of %d expressions, want 4", len(g.Llama))
	}
	for pre, want := range g.Llama {
		t.Run(pre, func(t *testing.T) {
			tokenizer, err := FromGGUF(toGGUF(t, []gguf.KeyValue{
				{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: pre},
				{Key: "tokenizer.ggml.tokens", Value: tokens}, {Key: "tokenizer.ggml.merges", Value: merges},
			}))
			if err != nil {
				t.Fatal(err)
			}
			expectAll(t, tokenizer, Options{}, g.Texts, want)
		})
	}
}
