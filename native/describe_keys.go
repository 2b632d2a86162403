package native

import (
	"math"
	"slices"
	"strings"
)

// Bounds of a model's hyper-parameters, those of model_begin: nothing is made of a number before it is known to be below.
const (
	mostContext    = 1 << 24
	mostLayers     = 1 << 10
	mostWidth      = 1 << 20
	mostHeadDim    = 1 << 10
	mostVocabulary = 1 << 24
	// Elements of each rotary table; 64 MiB each, 262144 positions of heads of 128.
	mostRopeElements = 1 << 24
)

// readKeys are the keys of an architecture that DescribeModel takes into the description or checks itself.
var readKeys = []string{
	"context_length", "block_count", "embedding_length", "feed_forward_length", "expert_count",
	"attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.scale",
	"attention.sliding_window", "attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon",
	"rope.dimension_count", "rope.freq_base", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length",
	"rope.scaling.attn_factor",
}

// harmlessKeys change nothing in what a model computes here.
var harmlessKeys = []string{"vocab_size", "tensor_data_layout", "pooling_type", "rope.scaling.finetuned", "leading_dense_block_count"}

// neutralKeys would change what the model computes, unless they have these values: numbers, or bools.
var neutralKeys = map[string]any{
	"attention.causal":            true,
	"attention.clamp_kqv":         0.0,
	"attention.max_alibi_bias":    0.0,
	"attn_logit_softcapping":      0.0,
	"final_logit_softcapping":     0.0,
	"logit_scale":                 1.0,
	"residual_scale":              1.0,
	"embedding_scale":             1.0,
	"rope.scale_linear":           1.0,
	"expert_used_count":           0.0,
	"expert_shared_count":         0.0,
	"nextn_predict_layers":        0.0,
	"use_parallel_residual":       false,
	"swin_norm":                   false,
	"attention.output_scale":      1.0,
	"attention.temperature_scale": 0.0,
}

// checkKeys refuses keys of the architecture that may change what the model computes and that the description cannot carry.
func (r *reader) checkKeys() {
	for _, full := range r.file.Keys() {
		key, own := strings.CutPrefix(full, r.name+".")
		if !own || slices.Contains(readKeys, key) || slices.Contains(harmlessKeys, key) {
			continue
		}
		neutral, known := neutralKeys[key]
		switch {
		case !known:
			r.fail("%s is not supported: it may change what the model computes", full)
		case !r.isNeutral(full, neutral):
			r.fail("%s is not supported, unless it is %v", full, neutral)
		}
	}
	if !r.has("rope.scaling.type") && r.has("rope.scaling.factor") && r.numberOr("rope.scaling.factor", 1) != 1 {
		r.fail("%s has a value without %s, which says what to do with it", r.key("rope.scaling.factor"), r.key("rope.scaling.type"))
	}
}

func (r *reader) isNeutral(full string, neutral any) bool {
	if number, ok := neutral.(float64); ok {
		value, err := r.file.Float64(full)
		return err == nil && value == number
	}
	value, err := r.file.Bool(full)
	return err == nil && value == neutral
}

// checkSizes holds the description's numbers against each other and against the vocabulary.
func (r *reader) checkSizes(d *ModelDescription) {
	if d.HeadCountKV > d.HeadCount || d.HeadCount%d.HeadCountKV != 0 {
		r.fail("%s is %d, which does not divide the %d heads", r.key("attention.head_count_kv"), d.HeadCountKV, d.HeadCount)
	}
	if d.HeadCount*d.HeadDim > mostWidth {
		r.fail("%s: %d heads of %d elements are too many", r.key("attention.head_count"), d.HeadCount, d.HeadDim)
	}
	if pairs := d.RopeDims / 2; pairs > 0 && d.ContextLength > mostRopeElements/pairs {
		r.fail("%s is %d: this worker takes at most %d positions of this model; serve it with a smaller --context", r.key("context_length"),
			d.ContextLength, mostRopeElements/pairs)
	}
	const vocabulary = "tokenizer.ggml.tokens"
	if !r.file.Has(vocabulary) {
		return
	}
	if _, _, tokens, err := r.file.Kind(vocabulary); err != nil || tokens > uint64(d.VocabSize) {
		r.fail("%s has %d tokens, more than the %d rows of token_embd.weight", vocabulary, tokens, d.VocabSize)
	}
}

// checkTensors holds the tensors' shapes against the description, before anything large is made for them, and looks for
// biases that are missing: a model without them computes something else.
func (r *reader) checkTensors(d *ModelDescription, required []string) {
	embedding, hidden := uint64(d.EmbeddingLength), uint64(d.FeedForwardLength)
	q, kv := uint64(d.HeadCount)*uint64(d.HeadDim), uint64(d.HeadCountKV)*uint64(d.HeadDim)
	shapes := map[string][2]uint64{
		"attn_q.weight": {embedding, q}, "attn_k.weight": {embedding, kv}, "attn_v.weight": {embedding, kv},
		"attn_output.weight": {q, embedding}, "ffn_gate.weight": {embedding, hidden}, "ffn_up.weight": {embedding, hidden},
		"ffn_down.weight": {hidden, embedding}, "token_embd.weight": {embedding, uint64(d.VocabSize)},
	}
	present, biases := map[string]bool{}, map[string]bool{}
	for _, part := range required {
		biases[part] = true
	}
	for _, t := range d.Tensors {
		present[t.Name] = true
		block, part := splitName(t.Name)
		if shape, known := shapes[part]; known && !slices.Equal(t.Shape, shape[:]) {
			r.fail("tensor %s has the shape %v; by the keys of %s it must be %v", t.Name, t.Shape, r.name, shape)
		}
		if block != "" && strings.HasSuffix(part, ".bias") {
			biases[part] = true
		}
	}
	if d.Norm == NormLayer && !present["output_norm.bias"] {
		r.fail("tensor output_norm.bias is missing, without which a model of the kind %s computes something else", r.name)
	}
	for i := range d.BlockCount {
		block := blockName(i)
		if !present[block+"attn_q.weight"] {
			r.fail("%s is %d, but there is no tensor %sattn_q.weight", r.key("block_count"), d.BlockCount, block)
			return
		}
		for part := range biases {
			if !present[block+part] {
				r.fail("tensor %s is missing, without which a model of the kind %s computes something else", block+part, r.name)
				return
			}
		}
	}
}

// scaleOf is the factor of q.k: the file's own, or 1/sqrt of the head's length.
func (r *reader) scaleOf(d *ModelDescription) float32 {
	return float32(r.numberOr("attention.scale", 1/math.Sqrt(float64(d.HeadDim))))
}
