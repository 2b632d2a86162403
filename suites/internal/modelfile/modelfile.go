// Package modelfile turns a GGUF file of the llama family into the description that the ABI takes, for specs that compare a
// native library with an oracle. It shares nothing with the worker's own loader.
package modelfile

import (
	"fmt"
	"math"

	"touchstone/native"
	"touchstone/native/gguf"
)

// Describe reads the hyper-parameters and tensors of an open file. The tensors' data belong to the file: it stays open until
// the model is loaded.
func Describe(file *gguf.File) (native.ModelDescription, error) {
	r := reader{file: file}
	r.architecture = r.text("general.architecture")
	d := native.ModelDescription{
		ContextLength:     r.integer("context_length"),
		BlockCount:        r.integer("block_count"),
		EmbeddingLength:   r.integer("embedding_length"),
		FeedForwardLength: r.integer("feed_forward_length"),
		HeadCount:         r.integer("attention.head_count"),
		HeadCountKV:       r.integer("attention.head_count_kv"),
		NormEpsilon:       float32(r.number("attention.layer_norm_rms_epsilon")),
		Norm:              native.NormRMS,
		Activation:        native.ActivationSwiGLU,
	}
	base := r.number("rope.freq_base")
	if r.err != nil {
		return d, r.err
	}
	switch r.architecture {
	case "qwen2":
		d.Position = native.PositionRopeNeox
	case "llama":
		d.Position = native.PositionRopeInterleaved
	default:
		return d, fmt.Errorf("the architecture %q is not known here; qwen2 and llama are", r.architecture)
	}
	table, found := file.Tensor("token_embd.weight")
	if !found || len(table.Shape) != 2 {
		return d, fmt.Errorf("token_embd.weight [width, vocab] is missing")
	}
	d.VocabSize = int(table.Shape[1])
	d.HeadDim = d.EmbeddingLength / d.HeadCount
	d.RopeDims = d.HeadDim
	d.AttentionScale = float32(1 / math.Sqrt(float64(d.HeadDim)))
	// The tables are an input of the contract: package math would give other bits on other processors.
	d.RopeCos, d.RopeSin = native.RopeTables(native.RopeFrequencies(base, d.RopeDims), d.ContextLength, 1)
	for _, tensor := range file.Tensors {
		d.Tensors = append(d.Tensors, native.Tensor{
			Name: tensor.Name, DType: native.DType(tensor.Type), Shape: tensor.Shape, Data: tensor.Data,
		})
	}
	return d, nil
}

// reader keeps the first error.
type reader struct {
	file         *gguf.File
	architecture string
	err          error
}

func (r *reader) text(key string) string {
	value, err := r.file.String(key)
	r.keep(err)
	return value
}

func (r *reader) integer(key string) int {
	value, err := r.file.Uint64(r.architecture + "." + key)
	r.keep(err)
	return int(value)
}

func (r *reader) number(key string) float64 {
	value, err := r.file.Float64(r.architecture + "." + key)
	r.keep(err)
	return value
}

func (r *reader) keep(err error) {
	if r.err == nil {
		r.err = err
	}
}
