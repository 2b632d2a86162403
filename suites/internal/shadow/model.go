package shadow

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"touchstone/native"
)

// Shape is what a model of random weights looks like. Widths are multiples of 32 where a weight is quantised.
type Shape struct {
	Vocab, Context, Blocks, Width, Hidden, Heads, KVHeads, HeadDim, RopeDims int

	Norm       native.NormKind
	Position   native.PositionKind
	Activation native.ActivationKind
	Epsilon    float32
	Scale      float32 // of attention; 0: 1/sqrt(HeadDim)
	Biases     bool
	Tied       bool         // the table of embeddings is the output layer too
	Weights    native.DType // of the matrices: F32, BF16 or Q8_0

	MaxRows  int
	KVBlocks int // 0: room for eight full contexts
}

// Small is a shape that takes microseconds a token and has every part of a real model.
func Small() Shape {
	return Shape{Vocab: 331, Context: 640, Blocks: 2, Width: 32, Hidden: 64, Heads: 4, KVHeads: 2, HeadDim: 8, RopeDims: 8, Epsilon: 1e-5,
		MaxRows: 512}
}

// AnyShape draws a shape: every kind of norm, position, activation and weight, sizes that are multiples of little.
func AnyShape(r *rand.Rand) Shape {
	kv := 1 + r.IntN(3)
	headDim := 2 * (1 + r.IntN(12))
	s := Shape{
		Vocab: 40 + r.IntN(1500), Context: 64 + r.IntN(200), Blocks: 1 + r.IntN(3), Width: 32 * (1 + r.IntN(3)), Hidden: 32 * (1 + r.IntN(80)),
		KVHeads: kv, Heads: kv * (1 + r.IntN(3)), HeadDim: headDim, RopeDims: 2 * (1 + r.IntN(headDim/2)), Norm: native.NormKind(r.IntN(2)),
		Position: native.PositionKind(r.IntN(3)), Activation: native.ActivationKind(r.IntN(2)), Epsilon: float32(math.Pow(10, -3-4*r.Float64())),
		Scale: float32(0.1 + 0.5*r.Float64()), Biases: r.IntN(2) == 0, Tied: r.IntN(2) == 0, MaxRows: 300,
		Weights: []native.DType{native.F32, native.BF16, native.Q8_0}[r.IntN(3)],
	}
	if s.Position == native.PositionLearned {
		s.RopeDims = 0
	}
	if s.Weights == native.Q8_0 { // attn_output reads heads x head_dim in blocks of 32
		s.HeadDim, s.Heads, s.KVHeads = 16, 4, 2
		s.RopeDims = min(s.RopeDims, 16)
	}
	return s
}

// Describe makes the weights, which the seed decides.
func (s Shape) Describe(seed uint64) native.ModelDescription {
	scale := s.Scale
	if scale == 0 {
		scale = float32(1 / math.Sqrt(float64(s.HeadDim)))
	}
	const kvBlock = 32 // positions
	blocks := s.KVBlocks
	if blocks == 0 {
		blocks = 8 * (s.Context + kvBlock - 1) / kvBlock
	}
	d := native.ModelDescription{
		VocabSize: s.Vocab, ContextLength: s.Context, BlockCount: s.Blocks, EmbeddingLength: s.Width, FeedForwardLength: s.Hidden,
		HeadCount: s.Heads, HeadCountKV: s.KVHeads, HeadDim: s.HeadDim, RopeDims: s.RopeDims, Norm: s.Norm, Position: s.Position,
		Activation: s.Activation, NormEpsilon: s.Epsilon, AttentionScale: scale, MaxRows: s.MaxRows,
		KVCacheBytes: uint64(blocks) * uint64(2*s.Blocks*s.KVHeads*s.HeadDim*kvBlock*2),
	}
	if s.Position != native.PositionLearned {
		d.RopeCos, d.RopeSin = native.RopeTables(native.RopeFrequencies(10000, s.RopeDims), s.Context, 1)
	}
	w := weights{random: rand.New(rand.NewPCG(seed, 77)), shape: s, description: &d}
	w.table("token_embd.weight", s.Width, s.Vocab)
	if s.Position == native.PositionLearned {
		w.table("position_embd.weight", s.Width, s.Context)
	}
	w.norm("output_norm")
	if !s.Tied {
		w.matrix("output", s.Width, s.Vocab)
	}
	for block := range s.Blocks {
		prefix := fmt.Sprintf("blk.%d.", block)
		w.norm(prefix + "attn_norm")
		w.linear(prefix+"attn_q", s.Width, s.Heads*s.HeadDim)
		w.linear(prefix+"attn_k", s.Width, s.KVHeads*s.HeadDim)
		w.linear(prefix+"attn_v", s.Width, s.KVHeads*s.HeadDim)
		w.linear(prefix+"attn_output", s.Heads*s.HeadDim, s.Width)
		w.norm(prefix + "ffn_norm")
		if s.Activation == native.ActivationSwiGLU {
			w.linear(prefix+"ffn_gate", s.Width, s.Hidden)
		}
		w.linear(prefix+"ffn_up", s.Width, s.Hidden)
		w.linear(prefix+"ffn_down", s.Hidden, s.Width)
	}
	return d
}

// weights adds random tensors to a description.
type weights struct {
	random      *rand.Rand
	shape       Shape
	description *native.ModelDescription
}

func (w *weights) add(name string, dtype native.DType, data []byte, shape ...uint64) {
	w.description.Tensors = append(w.description.Tensors, native.Tensor{Name: name, DType: dtype, Shape: shape, Data: data})
}

func (w *weights) floats(count int, centre, spread float64) []byte {
	data := make([]byte, 0, 4*count)
	for range count {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(centre+spread*w.random.NormFloat64())))
	}
	return data
}

// table is a matrix of embeddings in F32.
func (w *weights) table(name string, width, rows int) {
	w.add(name, native.F32, w.floats(width*rows, 0, 1/math.Sqrt(float64(width))*2), uint64(width), uint64(rows))
}

func (w *weights) norm(name string) {
	w.add(name+".weight", native.F32, w.floats(w.shape.Width, 1, 0.2), uint64(w.shape.Width))
	if w.shape.Norm == native.NormLayer {
		w.add(name+".bias", native.F32, w.floats(w.shape.Width, 0, 0.2), uint64(w.shape.Width))
	}
}

func (w *weights) linear(name string, columns, rows int) {
	w.matrix(name, columns, rows)
	if w.shape.Biases {
		w.add(name+".bias", native.F32, w.floats(rows, 0, 0.3), uint64(rows))
	}
}

// matrix has weights that keep the size of what goes through, so that no layer drowns another.
func (w *weights) matrix(name string, columns, rows int) {
	spread := 1.5 / math.Sqrt(float64(columns))
	var data []byte
	switch w.shape.Weights {
	case native.BF16:
		for range columns * rows {
			data = binary.LittleEndian.AppendUint16(data, uint16(math.Float32bits(float32(spread*w.random.NormFloat64()))>>16))
		}
	case native.Q8_0: // blocks of 32 under one binary16 scale, here a power of two
		exponent := int(math.Round(math.Log2(spread / 64)))
		for range columns / 32 * rows {
			data = binary.LittleEndian.AppendUint16(data, uint16(exponent+15)<<10)
			for range 32 {
				data = append(data, byte(w.random.IntN(255)-127))
			}
		}
	default:
		data = w.floats(columns*rows, 0, spread)
	}
	w.add(name+".weight", w.shape.Weights, data, uint64(columns), uint64(rows))
}
