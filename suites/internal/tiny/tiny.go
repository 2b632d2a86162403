// Package tiny makes a model of a few kilobytes with random weights, in memory, for specs of the native layer: it has every
// part of a real one (grouped heads, rotary positions, float and quantised weights) and takes microseconds a token.
package tiny

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/suites/library"
	"touchstone/suites/target"
)

// Dimensions of the model. The context is five KV blocks and a bit.
const (
	Vocab         = 61
	ContextLength = 170
	Blocks        = 2
	Width         = 32
	FeedForward   = 64
	Heads         = 4
	KVHeads       = 2
	HeadDim       = 8
	KVBlock       = 32                                           // positions
	KVBlockBytes  = 2 * Blocks * KVHeads * HeadDim * KVBlock * 2 // the documented formula
	ContextBlocks = (ContextLength + KVBlock - 1) / KVBlock
)

// Options change what Load does. The zero value is the main device with room for four full contexts.
type Options struct {
	Backend  *library.Backend
	Context  native.ContextOptions
	KVBlocks int // blocks of the pool; 0 means four full contexts
	MaxRows  int // of a step; 0 means 512
}

// Model is a loaded model with its context. Both are closed when the spec ends, in the right order.
type Model struct {
	native.Model
	Device native.Context
}

// Load opens a context and loads the model.
func Load(subject *target.Target, options Options) *Model {
	GinkgoHelper()
	context := OpenContext(subject, options)
	return LoadInto(context, Description(options))
}

// OpenContext opens the backend of the options, or the main one, for the duration of the spec.
func OpenContext(subject *target.Target, options Options) native.Context {
	GinkgoHelper()
	backend := options.Backend
	if backend == nil {
		main, err := subject.Main()
		Expect(err).NotTo(HaveOccurred())
		backend = &main
	}
	context, err := backend.Open(options.Context)
	Expect(err).NotTo(HaveOccurred(), "open %s", backend.Name)
	DeferCleanup(context.Close)
	return context
}

// LoadInto loads a model into an open context.
func LoadInto(context native.Context, description native.ModelDescription) *Model {
	GinkgoHelper()
	model, err := TryLoad(context, description)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(model.Close)
	return &Model{Model: model, Device: context}
}

// TryLoad loads a model and gives up cleanly when that fails.
func TryLoad(context native.Context, description native.ModelDescription) (native.Model, error) {
	loading, err := context.BeginModel(description)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	for {
		done, total, err := loading.Step(0)
		if err != nil {
			return nil, giveUp(loading, fmt.Errorf("step: %w", err))
		}
		if done == total {
			break
		}
	}
	model, err := loading.Finish()
	if err != nil {
		return nil, giveUp(loading, fmt.Errorf("finish: %w", err))
	}
	return model, nil
}

func giveUp(loading native.Loading, cause error) error {
	if err := loading.Close(); err != nil {
		return fmt.Errorf("%w; and the load could not be given up: %w", cause, err)
	}
	return cause
}

// Description is the model as the ABI takes it. Its weights are the same in every run.
func Description(options Options) native.ModelDescription {
	random := rand.New(rand.NewPCG(20, 26))
	blocks := options.KVBlocks
	if blocks == 0 {
		blocks = 4 * ContextBlocks
	}
	d := native.ModelDescription{
		VocabSize: Vocab, ContextLength: ContextLength, BlockCount: Blocks, EmbeddingLength: Width, FeedForwardLength: FeedForward,
		HeadCount: Heads, HeadCountKV: KVHeads, HeadDim: HeadDim, RopeDims: HeadDim,
		Norm: native.NormRMS, Position: native.PositionRopeNeox, Activation: native.ActivationSwiGLU,
		NormEpsilon: 1e-5, AttentionScale: float32(1 / math.Sqrt(HeadDim)),
		MaxRows: options.MaxRows, KVCacheBytes: uint64(blocks) * KVBlockBytes,
	}
	for position := range ContextLength {
		for i := range HeadDim / 2 {
			angle := float64(position) * math.Pow(10000, -2*float64(i)/HeadDim)
			d.RopeCos, d.RopeSin = append(d.RopeCos, float32(math.Cos(angle))), append(d.RopeSin, float32(math.Sin(angle)))
		}
	}
	plain := func(name string, columns, rows int) {
		d.Tensors = append(d.Tensors, plainTensor(random, name, columns, rows))
	}
	quantised := func(name string, columns, rows int) {
		d.Tensors = append(d.Tensors, quantisedTensor(random, name, columns, rows))
	}
	plain("token_embd.weight", Width, Vocab)
	plain("output_norm.weight", Width, 1)
	plain("output.weight", Width, Vocab)
	for block := range Blocks {
		prefix := fmt.Sprintf("blk.%d.", block)
		plain(prefix+"attn_norm.weight", Width, 1)
		plain(prefix+"attn_q.weight", Width, Heads*HeadDim)
		plain(prefix+"attn_k.weight", Width, KVHeads*HeadDim)
		plain(prefix+"attn_v.weight", Width, KVHeads*HeadDim)
		plain(prefix+"attn_output.weight", Heads*HeadDim, Width)
		plain(prefix+"ffn_norm.weight", Width, 1)
		quantised(prefix+"ffn_gate.weight", Width, FeedForward)
		quantised(prefix+"ffn_up.weight", Width, FeedForward)
		quantised(prefix+"ffn_down.weight", FeedForward, Width)
	}
	return d
}

func tensorShape(columns, rows int) []uint64 {
	if rows == 1 {
		return []uint64{uint64(columns)}
	}
	return []uint64{uint64(columns), uint64(rows)}
}

func plainTensor(random *rand.Rand, name string, columns, rows int) native.Tensor {
	data := make([]byte, 0, 4*columns*rows)
	for range columns * rows {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(0.5*random.NormFloat64())))
	}
	return native.Tensor{Name: name, DType: native.F32, Shape: tensorShape(columns, rows), Data: data}
}

// quantisedTensor is Q8_0: blocks of 32 with the binary16 scale 2^-9.
func quantisedTensor(random *rand.Rand, name string, columns, rows int) native.Tensor {
	const scale = (15 - 9) << 10
	var data []byte
	for range columns / 32 * rows {
		data = binary.LittleEndian.AppendUint16(data, scale)
		for range 32 {
			data = append(data, byte(random.IntN(255)-127))
		}
	}
	return native.Tensor{Name: name, DType: native.Q8_0, Shape: tensorShape(columns, rows), Data: data}
}

// Session starts a session that is closed when the spec ends.
func Session(model *Model) native.Session {
	GinkgoHelper()
	session, err := model.NewSession(native.SessionOptions{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(session.Close)
	return session
}

// Tokens are n token ids that depend on the seed alone.
func Tokens(n int, seed uint64) []int32 {
	random := rand.New(rand.NewPCG(seed, 1))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(random.IntN(Vocab))
	}
	return ids
}

// Hot samples at temperature 1 from everything.
func Hot(seed uint64) *native.Sampling {
	return &native.Sampling{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Seed: seed}
}

// Greedy takes the largest logit.
func Greedy() *native.Sampling { return &native.Sampling{TopP: 1, RepetitionPenalty: 1} }

// Evaluate steps one session through tokens and returns the logits of all of them, [len(tokens)][Vocab] flat.
func Evaluate(model native.Model, session native.Session, tokens []int32) []float32 {
	GinkgoHelper()
	items := []native.StepItem{{Session: session, Tokens: tokens, Want: native.LogitsAll}}
	Expect(model.Step(items)).To(Succeed())
	Expect(items[0].Err).NotTo(HaveOccurred())
	return items[0].Logits
}

// OneByOne steps one session through tokens, one a step, and returns the logits of all of them.
func OneByOne(model native.Model, session native.Session, tokens []int32) []float32 {
	GinkgoHelper()
	var all []float32
	for _, token := range tokens {
		all = append(all, Evaluate(model, session, []int32{token})...)
	}
	return all
}

// Row is the logits of one token of an evaluation.
func Row(logits []float32, token int) []float32 { return logits[token*Vocab : (token+1)*Vocab] }

// Hash is the SHA-256 of the little-endian logits, in lower-case hex.
func Hash(logits []float32) string {
	raw := make([]byte, 0, 4*len(logits))
	for _, v := range logits {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// FreeBlocks is how many KV blocks no session holds.
func FreeBlocks(model native.Model) int {
	GinkgoHelper()
	info, err := model.Info()
	Expect(err).NotTo(HaveOccurred())
	return info.KVBlocksFree
}

// Fresh evaluates tokens in a session of their own and returns their logits.
func Fresh(model *Model, tokens []int32) []float32 {
	GinkgoHelper()
	session, err := model.NewSession(native.SessionOptions{})
	Expect(err).NotTo(HaveOccurred())
	defer func() { Expect(session.Close()).To(Succeed()) }()
	return slices.Clone(Evaluate(model, session, tokens))
}
