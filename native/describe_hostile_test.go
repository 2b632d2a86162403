package native_test

import (
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	"touchstone/native"
	"touchstone/native/gguf"
)

// hostile is a model file with one thing wrong, and what the refusal must name.
type hostile struct {
	key     string
	value   any                                   // of the key in the file; nil leaves it out, unless tensors changes
	tensors func([]native.Tensor) []native.Tensor // nil: as they are
	named   string                                // what the refusal names; empty: the key
}

// without leaves a tensor out.
func without(name string) func([]native.Tensor) []native.Tensor {
	return func(tensors []native.Tensor) []native.Tensor {
		return slices.DeleteFunc(slices.Clone(tensors), func(t native.Tensor) bool { return t.Name == name })
	}
}

// refused describes a file that must be refused, and returns what it cost.
func refused(t *testing.T, file *gguf.File, named string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := native.DescribeModel(file)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Fatal("the file is not refused")
	}
	if !strings.Contains(err.Error(), named) || strings.Contains(err.Error(), "\n") {
		t.Errorf("the refusal is not one line that names %s: %v", named, err)
	}
	const most = 1 << 20
	if spent := after.TotalAlloc - before.TotalAlloc; spent > most {
		t.Errorf("%d bytes were allocated before the refusal, at most %d are due", spent, most)
	}
}

func TestHostileModelsAreRefusedBeforeAnythingIsMade(t *testing.T) {
	vocabulary := make([]string, vocabSize+1)
	for i := range vocabulary {
		vocabulary[i] = "t"
	}
	cases := []hostile{
		// Numbers that tables would be made of.
		{key: "context_length", value: uint32(math.MaxInt32)},
		{key: "context_length", value: uint64(math.MaxUint64)},
		{key: "context_length", value: uint32(1 << 24)},
		{key: "context_length", value: int32(-1)},
		{key: "block_count", value: uint32(1 << 30)},
		{key: "block_count", value: uint32(1024)},
		{key: "block_count", value: uint32(3)},
		{key: "embedding_length", value: uint32(1 << 31)},
		{key: "embedding_length", value: uint32(128), named: "token_embd.weight"},
		{key: "feed_forward_length", value: uint32(1 << 29)},
		{key: "feed_forward_length", value: uint32(192), named: "ffn"},
		{key: "attention.head_count", value: uint32(1 << 31)},
		{key: "attention.head_count", value: uint32(1 << 20)},
		{key: "attention.head_count", value: uint32(3)},
		{key: "attention.head_count", value: []uint32{4, 4}},
		{key: "attention.head_count_kv", value: uint32(3)},
		{key: "attention.head_count_kv", value: uint32(8)},
		{key: "attention.key_length", value: uint32(1 << 30)},
		{key: "attention.key_length", value: uint32(1024), named: "attn_q.weight"},
		{key: "attention.value_length", value: uint32(32)},
		{key: "rope.dimension_count", value: uint32(1 << 30)},
		{key: "rope.dimension_count", value: uint32(18)},
		{key: "rope.freq_base", value: float32(math.Inf(1))},
		{key: "rope.freq_base", value: float32(0)},
		{key: "attention.layer_norm_rms_epsilon", value: float32(math.NaN())},
		{key: "attention.scale", value: float32(-1)},
		{key: "attention.sliding_window", value: uint32(32)},
		// Keys that change what the model computes.
		{key: "rope.scaling.factor", value: float32(4)},
		{key: "rope.scaling.type", value: "yarn"},
		{key: "rope.scaling.type", value: "longrope"},
		{key: "rope.scaling.type", value: "linear", named: "rope.scaling.factor"},
		{key: "rope.scale_linear", value: float32(2)},
		{key: "rope.scaling.yarn_log_multiplier", value: float32(0.1)},
		{key: "rope.dimension_sections", value: []int32{16, 24, 24}},
		{key: "rope.freq_base_swa", value: float32(10000)},
		{key: "attention.causal", value: false},
		{key: "attention.clamp_kqv", value: float32(8)},
		{key: "attention.max_alibi_bias", value: float32(8)},
		{key: "attention.temperature_scale", value: float32(0.1)},
		{key: "attention.sliding_window_pattern", value: uint32(4)},
		{key: "attn_logit_softcapping", value: float32(50)},
		{key: "final_logit_softcapping", value: float32(30)},
		{key: "logit_scale", value: float32(0.0625)},
		{key: "residual_scale", value: float32(0.22)},
		{key: "embedding_scale", value: float32(12)},
		{key: "use_parallel_residual", value: true},
		{key: "expert_count", value: uint32(8)},
		{key: "expert_used_count", value: uint32(2)},
		{key: "a_key_of_tomorrow", value: uint32(1)},
		// Vocabulary and tensors.
		{key: "tokenizer.ggml.tokens", value: vocabulary},
		{tensors: without("blk.1.attn_k.bias"), named: "blk.1.attn_k.bias"},
		{tensors: without("blk.1.attn_q.weight"), named: "blk.1.attn_q.weight"},
		{tensors: without("token_embd.weight"), named: "token_embd.weight"},
	}
	d := rotaryModel()
	for _, c := range cases {
		key := c.key
		if key != "" && !strings.HasPrefix(key, "tokenizer.") {
			key = "qwen2." + key
		}
		named := c.named
		if named == "" {
			named = key
		}
		t.Run(named, func(t *testing.T) {
			metadata := metadataOf("qwen2", rmsKey, d)
			if key != "" {
				metadata = slices.DeleteFunc(metadata, func(kv gguf.KeyValue) bool { return kv.Key == key })
				metadata = append(metadata, gguf.KeyValue{Key: key, Value: c.value})
			}
			tensors := d.Tensors
			if c.tensors != nil {
				tensors = c.tensors(tensors)
			}
			refused(t, fileOf(t, metadata, tensors), named)
		})
	}
}

func TestLayerNormModelsNeedTheirBiases(t *testing.T) {
	d := learnedModel()
	for _, name := range []string{"blk.0.attn_norm.bias", "blk.1.attn_v.bias", "blk.0.ffn_down.bias", "output_norm.bias"} {
		t.Run(name, func(t *testing.T) {
			refused(t, fileOf(t, metadataOf("gpt2", layerKey, d), without(name)(d.Tensors)), name)
		})
	}
}

func TestKeysThatChangeNothingAreTaken(t *testing.T) {
	d := rotaryModel()
	metadata := append(metadataOf("qwen2", rmsKey, d),
		gguf.KeyValue{Key: "qwen2.vocab_size", Value: uint32(vocabSize)},
		gguf.KeyValue{Key: "qwen2.attention.causal", Value: true},
		gguf.KeyValue{Key: "qwen2.logit_scale", Value: float32(1)},
		gguf.KeyValue{Key: "qwen2.final_logit_softcapping", Value: float32(0)},
		gguf.KeyValue{Key: "qwen2.rope.scaling.factor", Value: float32(1)},
		gguf.KeyValue{Key: "qwen2.rope.scaling.finetuned", Value: false},
		gguf.KeyValue{Key: "other.logit_scale", Value: float32(2)},
		gguf.KeyValue{Key: "qwen2.attention.scale", Value: float32(0.5)})
	got, err := native.DescribeModel(fileOf(t, metadata, d.Tensors))
	check(t, err)
	if got.AttentionScale != 0.5 {
		t.Errorf("the attention scale is %v, the file says 0.5", got.AttentionScale)
	}
}
