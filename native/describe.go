package native

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"touchstone/native/gguf"
)

// DescribeModel makes a description of a parsed model file for its full context length. The tensors' data are parts of the
// file's mapping, which must stay open until Loading.Finish. Errors are StatusModelLoadFailed and name the key or tensor.
func DescribeModel(file *gguf.File) (ModelDescription, error) { return DescribeModelFor(file, 0) }

// DescribeModelFor is DescribeModel for sessions of at most contextLength positions; 0 means the model's own length. Models
// with two sets of rotary factors (longrope) take the one for this length.
func DescribeModelFor(file *gguf.File, contextLength int) (ModelDescription, error) {
	r := &reader{file: file}
	d, err := r.describe(contextLength)
	if err != nil {
		var native *Error
		if !errors.As(err, &native) {
			err = &Error{Status: StatusModelLoadFailed, Message: err.Error()}
		}
		return ModelDescription{}, err
	}
	return d, nil
}

// architecture says how a family of models differs from the others.
type architecture struct {
	norm       NormKind
	position   PositionKind
	activation ActivationKind
	epsilonKey string
	biases     []string // that every block has
}

var architectures = map[string]architecture{
	"qwen2": {NormRMS, PositionRopeNeox, ActivationSwiGLU, "attention.layer_norm_rms_epsilon",
		[]string{"attn_q.bias", "attn_k.bias", "attn_v.bias"}},
	"llama": {NormRMS, PositionRopeInterleaved, ActivationSwiGLU, "attention.layer_norm_rms_epsilon", nil},
	"phi3":  {NormRMS, PositionRopeNeox, ActivationSwiGLU, "attention.layer_norm_rms_epsilon", nil},
	"gpt2": {NormLayer, PositionLearned, ActivationGELU, "attention.layer_norm_epsilon",
		[]string{"attn_norm.bias", "attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias", "ffn_norm.bias",
			"ffn_up.bias", "ffn_down.bias"}},
}

// reader takes a description out of a file; the first failure stays in err.
type reader struct {
	file *gguf.File
	name string // of the architecture, prefix of its keys
	err  error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &Error{Status: StatusModelLoadFailed, Message: fmt.Sprintf(format, args...)}
	}
}

func (r *reader) key(key string) string { return r.name + "." + key }

func (r *reader) has(key string) bool { return r.file.Has(r.key(key)) }

// integer gets a number from 1 to most.
func (r *reader) integer(key string, most int) int {
	value, err := r.file.Uint64(r.key(key))
	if err != nil {
		r.fail("%v", err)
		return 1
	}
	if value < 1 || value > uint64(most) {
		r.fail("%s is %d; it must be 1 to %d", r.key(key), value, most)
		return 1
	}
	return int(value)
}

func (r *reader) integerOr(key string, most, otherwise int) int {
	if !r.has(key) {
		return otherwise
	}
	return r.integer(key, most)
}

func (r *reader) number(key string) float64 {
	value, err := r.file.Float64(r.key(key))
	if err != nil {
		r.fail("%v", err)
	} else if math.IsNaN(value) || math.IsInf(value, 0) || value <= 0 {
		r.fail("%s is %v; it must be a number above 0", r.key(key), value)
	}
	return value
}

func (r *reader) numberOr(key string, otherwise float64) float64 {
	if !r.has(key) {
		return otherwise
	}
	return r.number(key)
}

func (r *reader) describe(contextLength int) (ModelDescription, error) {
	name, err := r.file.String("general.architecture")
	if err != nil {
		return ModelDescription{}, err
	}
	kind, known := architectures[name]
	if !known {
		return ModelDescription{}, &Error{Status: StatusUnsupported,
			Message: fmt.Sprintf("general.architecture is %q; supported are qwen2, llama, phi3 and gpt2", name)}
	}
	r.name = name
	d := ModelDescription{Norm: kind.norm, Position: kind.position, Activation: kind.activation,
		BlockCount: r.integer("block_count", mostLayers), EmbeddingLength: r.integer("embedding_length", mostWidth),
		FeedForwardLength: r.integer("feed_forward_length", mostWidth), HeadCount: r.integer("attention.head_count", mostWidth),
		NormEpsilon: float32(r.number(kind.epsilonKey))}
	d.ContextLength = r.contextLength(contextLength)
	d.HeadCountKV = r.integerOr("attention.head_count_kv", mostWidth, d.HeadCount)
	if !r.has("attention.key_length") && d.EmbeddingLength%d.HeadCount != 0 {
		r.fail("%s does not divide %s", r.key("attention.head_count"), r.key("embedding_length"))
	}
	d.HeadDim = r.integerOr("attention.key_length", mostHeadDim, max(d.EmbeddingLength/d.HeadCount, 1))
	if d.HeadDim > mostHeadDim {
		r.fail("%s gives heads of %d elements; at most %d are supported", r.key("attention.head_count"), d.HeadDim, mostHeadDim)
	}
	if value := r.integerOr("attention.value_length", mostHeadDim, d.HeadDim); value != d.HeadDim {
		r.fail("%s is %d; heads of values other than of keys (%d) are not supported", r.key("attention.value_length"), value, d.HeadDim)
	}
	if r.has("expert_count") {
		if experts, err := r.file.Uint64(r.key("expert_count")); err != nil || experts > 0 {
			r.fail("%s: mixtures of experts are not supported", r.key("expert_count"))
		}
	}
	d.AttentionScale = r.scaleOf(&d)
	embedding, found := r.file.Tensor("token_embd.weight")
	if !found || len(embedding.Shape) != 2 || embedding.Shape[1] > mostVocabulary {
		r.fail("tensor token_embd.weight is missing or no matrix")
	} else {
		d.VocabSize = int(embedding.Shape[1])
	}
	if kind.position != PositionLearned {
		d.RopeDims = r.integerOr("rope.dimension_count", mostHeadDim, d.HeadDim)
	}
	r.checkKeys()
	if r.err == nil {
		r.checkSizes(&d)
		r.tensors(&d)
		r.checkTensors(&d, kind.biases)
	}
	if r.err == nil {
		r.ropeTables(&d)
	}
	return d, r.err
}

// contextLength is the smaller of what the model and the caller allow.
func (r *reader) contextLength(wanted int) int {
	length := r.integer("context_length", mostContext)
	if wanted < 0 {
		r.fail("the context length %d is negative", wanted)
	}
	if wanted > 0 && wanted < length {
		length = wanted
	}
	if r.has("attention.sliding_window") {
		window, err := r.file.Uint64(r.key("attention.sliding_window"))
		if err != nil {
			r.fail("%v", err)
		} else if window > 0 && window < uint64(length) {
			r.fail("%s is %d: sliding windows are not supported; limit the context to that length (--context)",
				r.key("attention.sliding_window"), window)
		}
	}
	return length
}

// tensors takes the file's tensors over under the names of the ABI; fused ones become views of their rows.
func (r *reader) tensors(d *ModelDescription) {
	q, kv := uint64(d.HeadCount)*uint64(d.HeadDim), uint64(d.HeadCountKV)*uint64(d.HeadDim)
	hidden := uint64(d.FeedForwardLength)
	for _, t := range r.file.Tensors {
		block, part := splitName(t.Name)
		switch {
		case t.Name == "rope_freqs.weight" || strings.HasPrefix(t.Name, "rope_factors_"):
			// in the rotary tables
		case part == "attn_qkv.weight" || part == "attn_qkv.bias":
			suffix := strings.TrimPrefix(part, "attn_qkv")
			r.split(d, t, []string{block + "attn_q" + suffix, block + "attn_k" + suffix, block + "attn_v" + suffix}, []uint64{q, kv, kv})
		case part == "ffn_up.weight" && d.Activation == ActivationSwiGLU && len(t.Shape) == 2 && t.Shape[1] == 2*hidden:
			r.split(d, t, []string{block + "ffn_gate.weight", block + "ffn_up.weight"}, []uint64{hidden, hidden})
		case t.Name == "position_embd.weight" && len(t.Shape) == 2 && t.Shape[1] > uint64(d.ContextLength):
			length := uint64(d.ContextLength)
			r.split(d, t, []string{t.Name, ""}, []uint64{length, t.Shape[1] - length})
		default:
			d.Tensors = append(d.Tensors, Tensor{Name: t.Name, DType: DType(t.Type), Shape: t.Shape, Data: t.Data})
		}
	}
}

func blockName(i int) string { return fmt.Sprintf("blk.%d.", i) }

// splitName divides "blk.3.attn_q.weight" into "blk.3." and "attn_q.weight".
func splitName(name string) (block, part string) {
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return "", name
	}
	number, part, ok := strings.Cut(rest, ".")
	if !ok {
		return "", name
	}
	return "blk." + number + ".", part
}

// split makes views of ranges of rows, which are contiguous, of a matrix or of elements of a vector. A part without a name
// is left out.
func (r *reader) split(d *ModelDescription, t gguf.Tensor, names []string, rows []uint64) {
	total := uint64(0)
	for _, n := range rows {
		total += n
	}
	last := len(t.Shape) - 1
	if t.Shape[last] != total || last > 1 {
		r.fail("tensor %s has the shape %v; its last dimension must be %d", t.Name, t.Shape, total)
		return
	}
	rowBytes := t.Bytes / total
	if rowBytes*total != t.Bytes {
		r.fail("tensor %s: a %s vector cannot be split", t.Name, t.Type)
		return
	}
	offset := uint64(0)
	for i, name := range names {
		end := offset + rows[i]*rowBytes
		if name != "" {
			shape := append([]uint64(nil), t.Shape...)
			shape[last] = rows[i]
			d.Tensors = append(d.Tensors, Tensor{Name: name, DType: DType(t.Type), Shape: shape, Data: t.Data[offset:end:end]})
		}
		offset = end
	}
}
