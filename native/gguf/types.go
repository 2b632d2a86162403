package gguf

import (
	"fmt"
	"math/bits"
)

// Type is the number format of a tensor; the values are those of ggml.
type Type uint32

// The supported formats.
const (
	F32  Type = 0
	F16  Type = 1
	Q4_0 Type = 2
	Q4_1 Type = 3
	Q5_0 Type = 6
	Q5_1 Type = 7
	Q8_0 Type = 8
	Q4_K Type = 12
	Q5_K Type = 13
	Q6_K Type = 14
	BF16 Type = 30
)

// layout is the name of a format and the shape of its blocks; a blockLength of 0 marks a format that is not supported.
type layout struct {
	name        string
	blockLength uint64 // elements
	blockBytes  uint64
}

var layouts = map[Type]layout{
	F32:  {"F32", 1, 4},
	F16:  {"F16", 1, 2},
	Q4_0: {"Q4_0", 32, 18},
	Q4_1: {"Q4_1", 32, 20},
	Q5_0: {"Q5_0", 32, 22},
	Q5_1: {"Q5_1", 32, 24},
	Q8_0: {"Q8_0", 32, 34},
	Q4_K: {"Q4_K", 256, 144},
	Q5_K: {"Q5_K", 256, 176},
	Q6_K: {"Q6_K", 256, 210},
	BF16: {"BF16", 1, 2},

	9: {name: "Q8_1"}, 10: {name: "Q2_K"}, 11: {name: "Q3_K"}, 15: {name: "Q8_K"},
	16: {name: "IQ2_XXS"}, 17: {name: "IQ2_XS"}, 18: {name: "IQ3_XXS"}, 19: {name: "IQ1_S"},
	20: {name: "IQ4_NL"}, 21: {name: "IQ3_S"}, 22: {name: "IQ2_S"}, 23: {name: "IQ4_XS"},
	24: {name: "I8"}, 25: {name: "I16"}, 26: {name: "I32"}, 27: {name: "I64"}, 28: {name: "F64"},
	29: {name: "IQ1_M"}, 34: {name: "TQ1_0"}, 35: {name: "TQ2_0"}, 39: {name: "MXFP4"},
}

// Types lists the supported formats.
func Types() []Type {
	return []Type{F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K}
}

// String gives ggml's name of the format.
func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Supported tells whether tensors of this format can be loaded.
func (t Type) Supported() bool { return layouts[t].blockLength > 0 }

// BlockLength gives the elements of a block, 0 if the format is not supported.
func (t Type) BlockLength() uint64 { return layouts[t].blockLength }

// BlockBytes gives the bytes of a block, 0 if the format is not supported.
func (t Type) BlockBytes() uint64 { return layouts[t].blockBytes }

// Size gives the bytes of a tensor of this format. The fastest dimension must be whole blocks, no dimension may be 0,
// and the size must fit in 63 bits.
func (t Type) Size(shape []uint64) (uint64, error) {
	if !t.Supported() {
		return 0, fmt.Errorf("%s is not a supported number format (supported: %v); convert the model to one of them", t, Types())
	}
	if len(shape) == 0 || len(shape) > MaxDims {
		return 0, fmt.Errorf("shape %v must have 1 to %d dimensions", shape, MaxDims)
	}
	l := layouts[t]
	if shape[0]%l.blockLength != 0 {
		return 0, fmt.Errorf("rows of %d elements are not whole %s blocks of %d; the file is damaged", shape[0], t, l.blockLength)
	}
	elements := uint64(1)
	for _, n := range shape {
		if n == 0 {
			return 0, fmt.Errorf("shape %v has a dimension of 0; the file is damaged", shape)
		}
		high, low := bits.Mul64(elements, n)
		if high != 0 {
			return 0, fmt.Errorf("shape %v overflows; the file is damaged", shape)
		}
		elements = low
	}
	high, size := bits.Mul64(elements/l.blockLength, l.blockBytes)
	if high != 0 || size >= 1<<63 {
		return 0, fmt.Errorf("shape %v overflows; the file is damaged", shape)
	}
	return size, nil
}
