package native_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"touchstone/native"
)

const (
	vocabSize     = 67
	contextLength = 160
	modelSeed     = 20240229
)

// tensorOf makes a tensor of seeded F32 values around centre.
func tensorOf(random *rand.Rand, name string, centre, spread float64, shape ...uint64) native.Tensor {
	elements := uint64(1)
	for _, n := range shape {
		elements *= n
	}
	data := make([]byte, 0, 4*elements)
	for range elements {
		value := float32(centre + spread*(2*random.Float64()-1))
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(value))
	}
	return native.Tensor{Name: name, DType: native.F32, Shape: shape, Data: data}
}

// rotaryModel is a small random model in the manner of qwen2.
func rotaryModel() native.ModelDescription {
	d := native.ModelDescription{VocabSize: vocabSize, ContextLength: contextLength, BlockCount: 2, EmbeddingLength: 64,
		FeedForwardLength: 96, HeadCount: 4, HeadCountKV: 2, HeadDim: 16, RopeDims: 16, NormEpsilon: 1e-6, AttentionScale: 0.25, MaxRows: 48,
		KVCacheBytes: 24 * 8192}
	d.RopeCos, d.RopeSin = native.RopeTables(native.RopeFrequencies(10000, d.RopeDims), d.ContextLength, 1)
	random := rand.New(rand.NewPCG(modelSeed, 1))
	add := func(name string, centre, spread float64, shape ...uint64) {
		d.Tensors = append(d.Tensors, tensorOf(random, name, centre, spread, shape...))
	}
	add("token_embd.weight", 0, 1, 64, vocabSize)
	add("output_norm.weight", 1, 0.2, 64)
	for i := range d.BlockCount {
		block := fmt.Sprintf("blk.%d.", i)
		add(block+"attn_norm.weight", 1, 0.2, 64)
		add(block+"attn_q.weight", 0, 0.3, 64, 64)
		add(block+"attn_q.bias", 0, 0.3, 64)
		add(block+"attn_k.weight", 0, 0.3, 64, 32)
		add(block+"attn_k.bias", 0, 0.3, 32)
		add(block+"attn_v.weight", 0, 0.3, 64, 32)
		add(block+"attn_v.bias", 0, 0.3, 32)
		add(block+"attn_output.weight", 0, 0.3, 64, 64)
		add(block+"ffn_norm.weight", 1, 0.2, 64)
		add(block+"ffn_gate.weight", 0, 0.3, 64, 96)
		add(block+"ffn_up.weight", 0, 0.3, 64, 96)
		add(block+"ffn_down.weight", 0, 0.3, 96, 64)
	}
	return d
}

// learnedModel is a small random model in the manner of gpt2, with a head of its own.
func learnedModel() native.ModelDescription {
	d := native.ModelDescription{VocabSize: vocabSize, ContextLength: contextLength, BlockCount: 2, EmbeddingLength: 64,
		FeedForwardLength: 96, HeadCount: 4, HeadCountKV: 4, HeadDim: 16, Norm: native.NormLayer, Position: native.PositionLearned,
		Activation: native.ActivationGELU, NormEpsilon: 1e-5, AttentionScale: 0.25, MaxRows: 48,
		KVCacheBytes: 24 * 16384}
	random := rand.New(rand.NewPCG(modelSeed, 2))
	add := func(name string, centre, spread float64, shape ...uint64) {
		d.Tensors = append(d.Tensors, tensorOf(random, name, centre, spread, shape...))
	}
	add("token_embd.weight", 0, 1, 64, vocabSize)
	add("position_embd.weight", 0, 1, 64, contextLength)
	add("output_norm.weight", 1, 0.2, 64)
	add("output_norm.bias", 0, 0.2, 64)
	add("output.weight", 0, 0.3, 64, vocabSize)
	for i := range d.BlockCount {
		block := fmt.Sprintf("blk.%d.", i)
		for _, norm := range []string{"attn_norm", "ffn_norm"} {
			add(block+norm+".weight", 1, 0.2, 64)
			add(block+norm+".bias", 0, 0.2, 64)
		}
		for _, name := range []string{"attn_q", "attn_k", "attn_v", "attn_output"} {
			add(block+name+".weight", 0, 0.3, 64, 64)
			add(block+name+".bias", 0, 0.3, 64)
		}
		add(block+"ffn_up.weight", 0, 0.3, 64, 96)
		add(block+"ffn_up.bias", 0, 0.3, 96)
		add(block+"ffn_down.weight", 0, 0.3, 96, 64)
		add(block+"ffn_down.bias", 0, 0.3, 64)
	}
	return d
}

var models = map[string]func() native.ModelDescription{"rotary": rotaryModel, "learned": learnedModel}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantStatus fails the test unless err carries the status.
func wantStatus(t *testing.T, err error, want native.Status) {
	t.Helper()
	if got := native.StatusOf(err); got != want {
		t.Fatalf("status %s (%v), want %s", got, err, want)
	}
}

// newContext opens the CPU with poisoned memory; the test closes it.
func newContext(t *testing.T, options native.ContextOptions) native.Context {
	t.Helper()
	options.PoisonMemory = true
	if options.Threads == 0 {
		options.Threads = 2
	}
	c, err := native.Builtin().NewContext(0, options)
	check(t, err)
	t.Cleanup(func() { check(t, c.Close()) })
	return c
}

// load brings a model to the device and gives it back at the end of the test.
func load(t *testing.T, c native.Context, d native.ModelDescription) native.Model {
	t.Helper()
	m, err := tryLoad(c, d)
	check(t, err)
	t.Cleanup(func() { check(t, m.Close()) })
	return m
}

func tryLoad(c native.Context, d native.ModelDescription) (native.Model, error) {
	l, err := c.BeginModel(d)
	if err != nil {
		return nil, err
	}
	for {
		done, total, err := l.Step(4096)
		if err != nil {
			return nil, closeAfter(l, err)
		}
		if done == total {
			break
		}
	}
	m, err := l.Finish()
	if err != nil {
		return nil, closeAfter(l, err)
	}
	return m, nil
}

func closeAfter(l native.Loading, err error) error {
	if closeErr := l.Close(); closeErr != nil {
		return closeErr
	}
	return err
}

func newSession(t *testing.T, m native.Model) native.Session {
	t.Helper()
	s, err := m.NewSession(native.SessionOptions{})
	check(t, err)
	t.Cleanup(func() { check(t, s.Close()) })
	return s
}

// someTokens gives n seeded tokens.
func someTokens(seed uint64, n int) []int32 {
	random := rand.New(rand.NewPCG(seed, 3))
	tokens := make([]int32, n)
	for i := range tokens {
		tokens[i] = int32(random.IntN(vocabSize))
	}
	return tokens
}

// eval evaluates tokens in one step and gives the logits of all of them.
func eval(t *testing.T, m native.Model, s native.Session, tokens []int32) []float32 {
	t.Helper()
	items := []native.StepItem{{Session: s, Tokens: tokens, Want: native.LogitsAll}}
	check(t, m.Step(items))
	check(t, items[0].Err)
	return items[0].Logits
}

// evalChunks evaluates tokens in chunks of a length.
func evalChunks(t *testing.T, m native.Model, s native.Session, tokens []int32, chunk int) []float32 {
	t.Helper()
	var logits []float32
	for len(tokens) > 0 {
		n := min(chunk, len(tokens))
		logits = append(logits, eval(t, m, s, tokens[:n])...)
		tokens = tokens[n:]
	}
	return logits
}

// wantSameBits names the first place where logits differ.
func wantSameBits(t *testing.T, got, want []float32, what string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d logits, want %d", what, len(got), len(want))
	}
	for i := range got {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
			t.Fatalf("%s: position %d, token %d: %v (%#08x), want %v (%#08x)", what, i/vocabSize, i%vocabSize, got[i],
				math.Float32bits(got[i]), want[i], math.Float32bits(want[i]))
		}
	}
}
