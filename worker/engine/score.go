package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"unsafe"

	"touchstone/native"
)

// TokenScore is the log-probability of a token of a prompt after those before it, with the likeliest tokens there.
type TokenScore struct {
	ID      int32
	Logprob float64
	Top     []TopLogprob
}

// score gives the log-probabilities of tokens under rows of logits, one each, as the library computes them when it chooses a
// token, with the n likeliest.
func (e *Engine) score(logits []float32, tokens []int32, n int) ([]TokenScore, error) {
	if len(tokens) == 0 {
		return nil, nil
	}
	rows, vocab := uint64(len(tokens)), uint64(len(logits)/len(tokens))
	targets := make([]byte, 0, 4*rows)
	for _, token := range tokens {
		targets = binary.LittleEndian.AppendUint32(targets, uint32(token))
	}
	n = max(n, 1)
	matrix := func(kind native.DType, shape ...uint64) native.Tensor {
		elements := uint64(1)
		for _, length := range shape {
			elements *= length
		}
		return native.Tensor{DType: kind, Shape: shape, Data: make([]byte, 4*elements)}
	}
	own, ids, likely := matrix(native.F32, rows), matrix(native.I32, uint64(n), rows), matrix(native.F32, uint64(n), rows)
	err := e.options.Context.RunOp(native.Op{
		Name: "score",
		Inputs: []native.Tensor{
			{DType: native.F32, Shape: []uint64{vocab, rows}, Data: bytesOf(logits)},
			{DType: native.I32, Shape: []uint64{rows}, Data: targets},
		},
		Outputs: []native.Tensor{own, ids, likely},
	})
	if err != nil {
		return nil, fmt.Errorf("score the prompt: %w", err)
	}
	word := func(tensor native.Tensor, i int) uint32 { return binary.LittleEndian.Uint32(tensor.Data[4*i:]) }
	number := func(tensor native.Tensor, i int) float64 { return finite(math.Float32frombits(word(tensor, i))) }
	scores := make([]TokenScore, len(tokens))
	for i, token := range tokens {
		scores[i] = TokenScore{ID: token, Logprob: number(own, i)}
		for k := range n {
			id := int32(word(ids, i*n+k))
			if id >= 0 { // a vocabulary may be smaller than n
				scores[i].Top = append(scores[i].Top, TopLogprob{
					ID: id, Text: PieceText(e.options.Tokenizer, id), Logprob: number(likely, i*n+k)})
			}
		}
	}
	return scores, nil
}

// bytesOf gives the memory of floats, which the library reads in the order of the machine.
func bytesOf(values []float32) []byte {
	if len(values) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), 4*len(values))
}
