package kernels

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"touchstone/native"
)

// u is the unit roundoff of binary32: the relative error of one correctly rounded operation.
const u = 0x1p-24

// underflow is more than what underflow can take from a handful of operations.
const underflow = 0x1p-140

// slack covers the terms of second order that the bounds leave out.
const slack = 1.01

func newRandom(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

// normals draws n values of about unit size, rounded to binary32.
func normals(random *rand.Rand, n int) []float32 {
	values := make([]float32, n)
	for i := range values {
		values[i] = float32(random.NormFloat64())
	}
	return values
}

func floatBytes(values []float32) []byte {
	out := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(out[4*i:], math.Float32bits(v))
	}
	return out
}

func floatsOf(data []byte) []float32 {
	out := make([]float32, len(data)/4)
	for i := range out {
		out[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}

func intBytes(values []int32) []byte {
	out := make([]byte, 4*len(values))
	for i, v := range values {
		binary.LittleEndian.PutUint32(out[4*i:], uint32(v))
	}
	return out
}

func intsOf(data []byte) []int32 {
	out := make([]int32, len(data)/4)
	for i := range out {
		out[i] = int32(binary.LittleEndian.Uint32(data[4*i:]))
	}
	return out
}

func shape(dims ...int) []uint64 {
	out := make([]uint64, len(dims))
	for i, d := range dims {
		out[i] = uint64(d)
	}
	return out
}

func floatTensor(values []float32, dims ...int) native.Tensor {
	return native.Tensor{DType: native.F32, Shape: shape(dims...), Data: floatBytes(values)}
}

func intTensor(values []int32) native.Tensor {
	return native.Tensor{DType: native.I32, Shape: shape(len(values)), Data: intBytes(values)}
}

// floatOutput is an output to be filled in; check.run gives it its memory.
func floatOutput(dims ...int) native.Tensor {
	return native.Tensor{DType: native.F32, Shape: shape(dims...)}
}

// guarded is an output inside a larger buffer whose rest must stay as it was.
type guarded struct {
	buffer []byte
	data   []byte
}

const (
	guardBytes = 64
	guardValue = 0xa5
)

func newGuarded(floats int) guarded {
	buffer := bytes.Repeat([]byte{guardValue}, 4*floats+2*guardBytes)
	end := guardBytes + 4*floats
	return guarded{buffer: buffer, data: buffer[guardBytes:end:end]}
}

func (g guarded) floats() []float32 { return floatsOf(g.data) }

// damage says where the first guard value was overwritten, or "".
func (g guarded) damage() string {
	for i, b := range g.buffer {
		offset := i - guardBytes
		if (offset < 0 || offset >= len(g.data)) && b != guardValue {
			return fmt.Sprintf("byte %d relative to the output of %d bytes", offset, len(g.data))
		}
	}
	return ""
}
