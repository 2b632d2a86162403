package native_test

import (
	"bytes"
	"io"
	"math"
	"strings"
	"testing"

	"touchstone/native"
	"touchstone/native/gguf"
)

// fileOf makes a model file in memory of metadata and tensors.
func fileOf(t *testing.T, metadata []gguf.KeyValue, tensors []native.Tensor) *gguf.File {
	t.Helper()
	var sources []gguf.TensorSource
	for _, tensor := range tensors {
		sources = append(sources, gguf.TensorSource{Name: tensor.Name, Type: gguf.Type(tensor.DType), Shape: tensor.Shape,
			WriteData: func(w io.Writer) error { _, err := w.Write(tensor.Data); return err }})
	}
	var buffer bytes.Buffer
	check(t, gguf.Write(&buffer, metadata, sources))
	f, err := gguf.Parse(buffer.Bytes())
	check(t, err)
	return f
}

// metadataOf describes d under the keys of an architecture.
func metadataOf(architecture, epsilonKey string, d native.ModelDescription) []gguf.KeyValue {
	return []gguf.KeyValue{
		{Key: "general.architecture", Value: architecture},
		{Key: architecture + ".context_length", Value: uint32(d.ContextLength)},
		{Key: architecture + ".block_count", Value: uint32(d.BlockCount)},
		{Key: architecture + ".embedding_length", Value: uint32(d.EmbeddingLength)},
		{Key: architecture + ".feed_forward_length", Value: uint32(d.FeedForwardLength)},
		{Key: architecture + ".attention.head_count", Value: uint32(d.HeadCount)},
		{Key: architecture + ".attention.head_count_kv", Value: uint32(d.HeadCountKV)},
		{Key: architecture + "." + epsilonKey, Value: d.NormEpsilon},
	}
}

// fuse puts tensors of a block together as one, as some converters do.
func fuse(tensors []native.Tensor, block string, into string, parts ...string) []native.Tensor {
	var fused native.Tensor
	var others []native.Tensor
	for _, part := range parts {
		for _, tensor := range tensors {
			if tensor.Name != block+part {
				continue
			}
			if fused.Name == "" {
				fused = native.Tensor{Name: block + into, Shape: append([]uint64(nil), tensor.Shape...)}
			} else {
				fused.Shape[len(fused.Shape)-1] += tensor.Shape[len(tensor.Shape)-1]
			}
			fused.Data = append(fused.Data, tensor.Data...)
		}
	}
	for _, tensor := range tensors {
		part, ofBlock := strings.CutPrefix(tensor.Name, block)
		if !ofBlock || !strings.Contains(strings.Join(parts, " ")+" ", part+" ") {
			others = append(others, tensor)
		}
	}
	return append(others, fused)
}

const (
	rmsKey   = "attention.layer_norm_rms_epsilon"
	layerKey = "attention.layer_norm_epsilon"
)

func TestDescribedFilesComputeWhatTheirModelsDo(t *testing.T) {
	phi3 := rotaryModel()
	for i := len(phi3.Tensors) - 1; i >= 0; i-- {
		if strings.HasSuffix(phi3.Tensors[i].Name, ".bias") {
			phi3.Tensors = append(phi3.Tensors[:i], phi3.Tensors[i+1:]...)
		}
	}
	fusedPhi3, gpt2 := phi3.Tensors, learnedModel()
	fusedGPT2 := gpt2.Tensors
	for _, block := range []string{"blk.0.", "blk.1."} {
		fusedPhi3 = fuse(fusedPhi3, block, "attn_qkv.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight")
		fusedPhi3 = fuse(fusedPhi3, block, "ffn_up.weight", "ffn_gate.weight", "ffn_up.weight")
		fusedGPT2 = fuse(fusedGPT2, block, "attn_qkv.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight")
		fusedGPT2 = fuse(fusedGPT2, block, "attn_qkv.bias", "attn_q.bias", "attn_k.bias", "attn_v.bias")
	}
	llama := rotaryModel()
	llama.Position = native.PositionRopeInterleaved
	cases := map[string]struct {
		want       native.ModelDescription
		epsilonKey string
		tensors    []native.Tensor
	}{
		"qwen2": {rotaryModel(), rmsKey, rotaryModel().Tensors},
		"llama": {llama, rmsKey, llama.Tensors},
		"phi3":  {phi3, rmsKey, fusedPhi3},
		"gpt2":  {gpt2, layerKey, fusedGPT2},
	}
	tokens := someTokens(1, 48)
	logits := map[string][]float32{}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			d, err := native.DescribeModel(fileOf(t, metadataOf(name, test.epsilonKey, test.want), test.tensors))
			check(t, err)
			d.MaxRows = 48
			logits[name] = reference(t, load(t, newContext(t, native.ContextOptions{}), d), tokens)
			wantSameBits(t, logits[name], reference(t, load(t, newContext(t, native.ContextOptions{}), test.want), tokens), "the file")
		})
	}
	if logits["qwen2"][47*vocabSize] == logits["llama"][47*vocabSize] {
		t.Error("both kinds of rotation gave the same logit")
	}
}

func TestDescribeModelForAShorterContext(t *testing.T) {
	d := learnedModel()
	short, err := native.DescribeModelFor(fileOf(t, metadataOf("gpt2", layerKey, d), d.Tensors), 50)
	check(t, err)
	tokens := someTokens(2, 40)
	short.MaxRows = 48
	wantSameBits(t, reference(t, load(t, newContext(t, native.ContextOptions{}), short), tokens),
		reference(t, load(t, newContext(t, native.ContextOptions{}), d), tokens), "a shorter context")
}

func TestDescribeModelNamesWhatIsWrong(t *testing.T) {
	d := rotaryModel()
	good := metadataOf("qwen2", rmsKey, d)
	with := func(key string, value any) []gguf.KeyValue {
		var out []gguf.KeyValue
		for _, kv := range good {
			if kv.Key != key {
				out = append(out, kv)
			}
		}
		if value == nil {
			return out
		}
		return append(out, gguf.KeyValue{Key: key, Value: value})
	}
	cases := map[string][]gguf.KeyValue{
		"qwen2.block_count":            with("qwen2.block_count", nil),
		"qwen2.embedding_length":       with("qwen2.embedding_length", "64"),
		"qwen2.attention.head_count":   with("qwen2.attention.head_count", uint32(0)),
		"qwen2.context_length":         with("qwen2.context_length", uint64(1)<<40),
		"qwen2.rope.scaling.type":      with("qwen2.rope.scaling.type", "yarn"),
		"qwen2.expert_count":           with("qwen2.expert_count", uint32(8)),
		"qwen2.rope.dimension_count":   with("qwen2.rope.dimension_count", uint32(15)),
		"qwen2.attention.value_length": with("qwen2.attention.value_length", uint32(8)),
	}
	for name, metadata := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := native.DescribeModel(fileOf(t, metadata, d.Tensors))
			wantStatus(t, err, native.StatusModelLoadFailed)
			if !strings.Contains(err.Error(), name) {
				t.Errorf("the error does not name the key: %v", err)
			}
		})
	}
	steep := append(with("qwen2.rope.scaling.type", "linear"), gguf.KeyValue{Key: "qwen2.rope.scaling.factor", Value: float32(1e-9)})
	_, err := native.DescribeModel(fileOf(t, steep, d.Tensors))
	wantStatus(t, err, native.StatusModelLoadFailed)
	if !strings.Contains(err.Error(), "rotary angle") {
		t.Errorf("the error does not name the angle: %v", err)
	}
	_, err = native.DescribeModel(fileOf(t, with("general.architecture", "mamba"), d.Tensors))
	wantStatus(t, err, native.StatusUnsupported)
	_, err = native.DescribeModel(fileOf(t, good, d.Tensors[1:]))
	wantStatus(t, err, native.StatusModelLoadFailed)
}

func TestRopeTablesAreRoundedFromExactAngles(t *testing.T) {
	for _, base := range []float64{10000, 1e6, 500000} {
		frequencies := native.RopeFrequencies(base, 128)
		for i, f := range frequencies {
			want := math.Pow(base, -2*float64(i)/128)
			if math.Abs(f-want) > 1e-14*want {
				t.Fatalf("base %v: frequency %d is %v, want %v", base, i, f, want)
			}
		}
		cos, sin := native.RopeTables(frequencies, 2000, 1)
		for k := range cos {
			angle := float64(k/64) * frequencies[k%64]
			// Half a unit in the last place of a float32 below 1, and what the argument's reduction may cost.
			if math.Abs(float64(cos[k])-math.Cos(angle)) > 3.1e-8 || math.Abs(float64(sin[k])-math.Sin(angle)) > 3.1e-8 {
				t.Fatalf("base %v, position %d, pair %d: %v, %v; want %v, %v", base, k/64, k%64, cos[k], sin[k], math.Cos(angle), math.Sin(angle))
			}
		}
	}
	for _, frequency := range []float64{1, 127.99} { // angles up to 2^17, and up to nearly 2^24
		cos, sin := native.RopeTables([]float64{frequency}, 131072, 1)
		for p := range cos {
			angle := float64(p) * frequency
			if math.Abs(float64(cos[p])-math.Cos(angle)) > 3.1e-8 || math.Abs(float64(sin[p])-math.Sin(angle)) > 3.1e-8 {
				t.Fatalf("position %d of frequency %v: %v, %v", p, frequency, cos[p], sin[p])
			}
		}
	}
}

// The bundled model loads from its file and continues its own beginning greedily.
func TestBundledModel(t *testing.T) {
	file, err := gguf.Open("../fixtures/models/haiku.gguf")
	check(t, err)
	defer func() { check(t, file.Close()) }()
	d, err := native.DescribeModel(file)
	check(t, err)
	m := load(t, newContext(t, native.ContextOptions{}), d)
	s := newSession(t, m)
	end, err := file.Uint64("tokenizer.ggml.eos_token_id")
	check(t, err)
	items := []native.StepItem{{Session: s, Tokens: []int32{int32(end)}, Sampling: &native.Sampling{TopP: 1, RepetitionPenalty: 1}}}
	seen := map[int32]bool{}
	for range 20 {
		check(t, m.Step(items))
		check(t, items[0].Err)
		if items[0].Logprob < -4 {
			t.Errorf("a greedy token has the log-probability %v: the model predicts nothing", items[0].Logprob)
		}
		seen[items[0].Token] = true
		items[0].Tokens = []int32{items[0].Token}
	}
	if len(seen) < 8 {
		t.Errorf("only %d distinct tokens of 20", len(seen))
	}
}
