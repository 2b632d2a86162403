package cuda_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"touchstone/native"
)

const (
	testVocab   = 150
	testContext = 200
)

// testModel is a random model with two formats in every layer, widths that are no whole segments, and shared KV heads.
func testModel() native.ModelDescription {
	d := native.ModelDescription{VocabSize: testVocab, ContextLength: testContext, BlockCount: 2, EmbeddingLength: 160, FeedForwardLength: 288,
		HeadCount: 4, HeadCountKV: 2, HeadDim: 24, RopeDims: 24, NormEpsilon: 1e-6, AttentionScale: 0.2, MaxRows: 64}
	d.RopeCos, d.RopeSin = native.RopeTables(native.RopeFrequencies(10000, d.RopeDims), d.ContextLength, 1)
	random := rand.New(rand.NewPCG(30, 1))
	add := func(name string, tensor native.Tensor) {
		tensor.Name = name
		d.Tensors = append(d.Tensors, tensor)
	}
	add("token_embd.weight", matrix(random, native.F16, 160, testVocab))
	add("output_norm.weight", floats(random, 1, 160))
	for i := range d.BlockCount {
		prefix := fmt.Sprintf("blk.%d.", i)
		add(prefix+"attn_norm.weight", floats(random, 1, 160))
		add(prefix+"attn_q.weight", matrix(random, native.Q4_0, 160, 96))
		add(prefix+"attn_q.bias", floats(random, 0.3, 96))
		add(prefix+"attn_k.weight", matrix(random, native.Q4_0, 160, 48))
		add(prefix+"attn_v.weight", matrix(random, native.Q8_0, 160, 48))
		add(prefix+"attn_output.weight", matrix(random, native.Q5_1, 96, 160))
		add(prefix+"ffn_norm.weight", floats(random, 1, 160))
		add(prefix+"ffn_gate.weight", matrix(random, native.F16, 160, 288))
		add(prefix+"ffn_up.weight", matrix(random, native.F16, 160, 288))
		add(prefix+"ffn_down.weight", matrix(random, native.BF16, 288, 160))
	}
	return d
}

func load(c native.Context, d native.ModelDescription) (native.Model, error) {
	loading, err := c.BeginModel(d)
	if err != nil {
		return nil, err
	}
	for {
		done, total, err := loading.Step(20000)
		if err != nil {
			return nil, firstError(err, loading.Close())
		}
		if done == total {
			break
		}
	}
	m, err := loading.Finish()
	if err != nil {
		return nil, firstError(err, loading.Close())
	}
	return m, nil
}

func firstError(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// generate prefills in chunks, then decodes greedily or with sampling in two sessions side by side; it gives all logits and tokens.
func generate(m native.Model, decode int) (logits []float32, tokens []int32, err error) {
	random := rand.New(rand.NewPCG(31, 1))
	prompt := make([]int32, 70)
	for i := range prompt {
		prompt[i] = int32(random.IntN(testVocab))
	}
	var sessions [2]native.Session
	for i := range sessions {
		if sessions[i], err = m.NewSession(native.SessionOptions{}); err != nil {
			return nil, nil, err
		}
		defer func() { err = firstError(err, sessions[i].Close()) }()
	}
	step := func(items ...native.StepItem) error {
		for i := range items {
			items[i].Want = native.LogitsLast
		}
		if err := m.Step(items); err != nil {
			return err
		}
		for _, item := range items {
			if item.Err != nil {
				return item.Err
			}
			logits = append(logits, item.Logits...)
			tokens = append(tokens, item.Token)
		}
		return nil
	}
	greedy := &native.Sampling{TopP: 1, RepetitionPenalty: 1}
	sampled := &native.Sampling{Temperature: 0.9, TopK: 30, TopP: 0.9, RepetitionPenalty: 1.1, Seed: 9}
	for _, cut := range [][2]int{{0, 1}, {1, 13}, {13, 70}} {
		if err := step(native.StepItem{Session: sessions[0], Tokens: prompt[cut[0]:cut[1]], Sampling: greedy}); err != nil {
			return nil, nil, err
		}
	}
	if err := step(native.StepItem{Session: sessions[1], Tokens: prompt[:5], Sampling: sampled}); err != nil {
		return nil, nil, err
	}
	last := [2]int32{tokens[2], tokens[3]}
	for i := range decode {
		if i%3 == 2 { // together
			err = step(native.StepItem{Session: sessions[0], Tokens: last[:1], Sampling: greedy}, native.StepItem{Session: sessions[1], Tokens: last[1:], Sampling: sampled})
			copy(last[:], tokens[max(0, len(tokens)-2):])
		} else {
			err = step(native.StepItem{Session: sessions[0], Tokens: last[:1], Sampling: greedy})
			last[0] = tokens[len(tokens)-1]
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return logits, tokens, nil
}

// Chunked prefill, replayed decode passes, batches and sampling on the simulator give the CPU's bits.
func TestModelEqualsTheCPU(t *testing.T) {
	var want []float32
	var wantTokens []int32
	for i, kind := range []native.DeviceKind{native.DeviceCPU, native.DeviceSim, native.DeviceSim} {
		c := open(t, kind, native.ContextOptions{OrderSeed: uint64(i)})
		m, err := load(c, testModel())
		if err != nil {
			t.Fatal(err)
		}
		logits, tokens, err := generate(m, 14)
		if err != nil {
			t.Fatal(err)
		}
		report, err := c.CheckResidency()
		if err != nil || report.Checked == 0 || report.Outside != 0 {
			t.Errorf("residency: %+v, %v", report, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if stats, err := c.Memory(); err != nil || stats.Total() != 0 || stats.Blocks != 0 {
			t.Errorf("after the model's end the ledger holds %+v, %v", stats, err)
		}
		if kind == native.DeviceCPU {
			want, wantTokens = logits, tokens
			continue
		}
		for j := range want {
			if want[j] != logits[j] {
				t.Fatalf("logit %d of token %d: %v on the CPU, %v on the simulator", j%testVocab, j/testVocab, want[j], logits[j])
			}
		}
		if !slices.Equal(want, logits) || !slices.Equal(wantTokens, tokens) {
			t.Fatalf("tokens %v on the CPU, %v on the simulator", wantTokens, tokens)
		}
	}
}

// Every allocation in turn fails: the status says so, and nothing stays behind.
func TestEveryFailingAllocation(t *testing.T) {
	description := testModel()
	for n := uint64(1); ; n++ {
		if n > 200 {
			t.Fatal("allocations never end")
		}
		done := false
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			c := open(t, native.DeviceSim, native.ContextOptions{FailAllocation: n})
			m, err := load(c, description)
			if err == nil {
				_, _, err = generate(m, 3)
				if closed := m.Close(); closed != nil {
					t.Fatal(closed)
				}
			}
			if stats, failed := c.Memory(); failed != nil || stats.Total() != 0 || stats.Blocks != 0 {
				t.Errorf("the ledger holds %+v, %v", stats, failed)
			}
			done = err == nil
			if err != nil && native.StatusOf(err) != native.StatusOutOfMemory {
				t.Errorf("status %s: %v", native.StatusOf(err), err)
			}
		})
		if done {
			if n < 20 {
				t.Errorf("only %d allocations", n-1)
			}
			return
		}
	}
}
