package kernels

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"touchstone/native"
)

// A format is a storage format of weights as the GGUF specification defines it, read here in float64. A quantised value is
// scale * integer + minimum.
type format struct {
	name     string
	dtype    native.DType
	elements int // of a block
	bytes    int // of a block
	// decode takes one block; group is the number of elements that share a scale.
	decode func(block []byte) decoded
}

// decoded is one block: value[i] = scale[i] * integer[i] + minimum[i].
type decoded struct {
	scale, minimum []float64
	integer        []int
}

// formats are all storage formats of the ABI.
var formats = []format{
	{"f32", native.F32, 1, 4, nil},
	{"f16", native.F16, 1, 2, nil},
	{"bf16", native.BF16, 1, 2, nil},
	{"q8_0", native.Q8_0, 32, 34, decodeQ8_0},
	{"q4_0", native.Q4_0, 32, 18, decodeQ4_0},
	{"q4_1", native.Q4_1, 32, 20, decodeQ4_1},
	{"q5_0", native.Q5_0, 32, 22, decodeQ5_0},
	{"q5_1", native.Q5_1, 32, 24, decodeQ5_1},
	{"q4_k", native.Q4_K, 256, 144, decodeQ4_K},
	{"q5_k", native.Q5_K, 256, 176, decodeQ5_K},
	{"q6_k", native.Q6_K, 256, 210, decodeQ6_K},
}

func formatNamed(name string) format {
	for _, f := range formats {
		if f.name == name {
			return f
		}
	}
	panic("no format " + name)
}

func (f format) quantised() bool { return f.decode != nil }

func (f format) block() int { return f.elements }

// rowBytes is the size of a row of k elements.
func (f format) rowBytes(k int) int { return k / f.elements * f.bytes }

// tensor wraps stored rows of k elements.
func (f format) tensor(data []byte, k, rows int) native.Tensor {
	return native.Tensor{DType: f.dtype, Shape: shape(k, rows), Data: data}
}

// random makes rows of k elements: normal values, or random integers under scales of the usual size.
func (f format) random(random *rand.Rand, k, rows int) []byte {
	out := make([]byte, 0, f.rowBytes(k)*rows)
	switch f.name {
	case "f32":
		return floatBytes(normals(random, k*rows))
	case "f16":
		for range k * rows {
			out = binary.LittleEndian.AppendUint16(out, halfBits(random.NormFloat64()))
		}
		return out
	case "bf16":
		for range k * rows {
			out = binary.LittleEndian.AppendUint16(out, uint16(math.Float32bits(float32(random.NormFloat64()))>>16))
		}
		return out
	}
	for range k / f.elements * rows {
		block := make([]byte, f.bytes)
		for i := range block {
			block[i] = byte(random.Uint32())
		}
		for _, at := range f.halves() {
			binary.LittleEndian.PutUint16(block[at:], halfBits((0.25+random.Float64())/64))
		}
		out = append(out, block...)
	}
	return out
}

// halves are the offsets of a block's binary16 scales and minima.
func (f format) halves() []int {
	switch f.name {
	case "q4_1", "q5_1", "q4_k", "q5_k":
		return []int{0, 2}
	case "q6_k":
		return []int{208}
	}
	return []int{0}
}

// values are the exact values of one stored row.
func (f format) values(row []byte) []float64 {
	var out []float64
	for at := 0; at < len(row); at += f.bytes {
		block := row[at : at+f.bytes]
		switch f.name {
		case "f32":
			out = append(out, float64(math.Float32frombits(binary.LittleEndian.Uint32(block))))
		case "f16":
			out = append(out, half(block))
		case "bf16":
			out = append(out, float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(block))<<16)))
		default:
			d := f.decode(block)
			for i := range d.integer {
				out = append(out, d.scale[i]*float64(d.integer[i])+d.minimum[i])
			}
		}
	}
	return out
}

// half reads a binary16.
func half(from []byte) float64 {
	bits := binary.LittleEndian.Uint16(from)
	sign := 1.0
	if bits&0x8000 != 0 {
		sign = -1
	}
	exponent, fraction := int(bits>>10)&31, float64(bits&1023)
	switch exponent {
	case 0:
		return sign * math.Ldexp(fraction, -24)
	case 31:
		if fraction == 0 {
			return sign * math.Inf(1)
		}
		return math.NaN()
	}
	return sign * math.Ldexp(1024+fraction, exponent-25)
}

// halfBits rounds to the nearest binary16, ties to even, for values within its normal range and zero.
func halfBits(value float64) uint16 {
	if value == 0 {
		return 0
	}
	fraction, exponent := math.Frexp(math.Abs(value)) // fraction in [0.5, 1)
	step := math.Ldexp(1, max(exponent-11, -24))
	_ = fraction
	rounded := math.RoundToEven(math.Abs(value)/step) * step
	mantissa, e := math.Frexp(rounded)
	var bits uint16
	if e-1 < -14 {
		bits = uint16(math.Ldexp(rounded, 24))
	} else {
		bits = uint16(e-1+15)<<10 | uint16(math.Ldexp(mantissa, 11)-1024)
	}
	if value < 0 {
		bits |= 0x8000
	}
	return bits
}

// uniform fills a block whose elements share one scale and minimum.
func uniform(scale, minimum float64, integers []int) decoded {
	d := decoded{integer: integers, scale: make([]float64, len(integers)), minimum: make([]float64, len(integers))}
	for i := range integers {
		d.scale[i], d.minimum[i] = scale, minimum
	}
	return d
}

func decodeQ8_0(b []byte) decoded {
	q := make([]int, 32)
	for i := range q {
		q[i] = int(int8(b[2+i]))
	}
	return uniform(half(b), 0, q)
}

// nibbles reads 16 bytes as 32 values: the low nibbles first, then the high ones.
func nibbles(b []byte, offset int) []int {
	q := make([]int, 32)
	for i := range 16 {
		q[i], q[i+16] = int(b[i]&15)-offset, int(b[i]>>4)-offset
	}
	return q
}

// fifthBits adds bit i of 4 little-endian bytes to value i.
func fifthBits(q []int, b []byte) []int {
	bits := binary.LittleEndian.Uint32(b)
	for i := range q {
		q[i] += int(bits>>i&1) << 4
	}
	return q
}

func decodeQ4_0(b []byte) decoded { return uniform(half(b), 0, nibbles(b[2:], 8)) }
func decodeQ4_1(b []byte) decoded { return uniform(half(b), half(b[2:]), nibbles(b[4:], 0)) }
func decodeQ5_0(b []byte) decoded { return uniform(half(b), 0, fifthBits(nibbles(b[6:], 16), b[2:])) }
func decodeQ5_1(b []byte) decoded {
	return uniform(half(b), half(b[2:]), fifthBits(nibbles(b[8:], 0), b[4:]))
}

// sixBits unpacks the 8 scales and 8 minima of a K block: bytes 0-3 and 4-7 hold the first four of each in their low six
// bits, whose upper two bits together with the nibbles of bytes 8-11 hold the last four.
func sixBits(packed []byte) (scales, minima [8]int) {
	for j := range 4 {
		scales[j], minima[j] = int(packed[j]&63), int(packed[j+4]&63)
		scales[j+4] = int(packed[j+8]&15) + int(packed[j]>>6)*16
		minima[j+4] = int(packed[j+8]>>4) + int(packed[j+4]>>6)*16
	}
	return scales, minima
}

// fourBitGroups reads 128 bytes as 8 groups of 32: each 32 bytes hold a group in their low and one in their high nibbles.
func fourBitGroups(b []byte) []int {
	q := make([]int, 256)
	for i := range 256 {
		group, lane := i/32, i%32
		q[i] = int(b[group/2*32+lane]>>(group%2*4)) & 15
	}
	return q
}

func kBlock(b []byte, q []int) decoded {
	d, dmin := half(b), half(b[2:])
	scales, minima := sixBits(b[4:16])
	out := decoded{integer: q, scale: make([]float64, 256), minimum: make([]float64, 256)}
	for i := range 256 {
		out.scale[i], out.minimum[i] = d*float64(scales[i/32]), -dmin*float64(minima[i/32])
	}
	return out
}

func decodeQ4_K(b []byte) decoded { return kBlock(b, fourBitGroups(b[16:])) }

func decodeQ5_K(b []byte) decoded {
	q := fourBitGroups(b[48:])
	for i := range q {
		q[i] += int(b[16+i%32]>>(i/32)&1) << 4
	}
	return kBlock(b, q)
}

func decodeQ6_K(b []byte) decoded {
	out := decoded{integer: make([]int, 256), scale: make([]float64, 256), minimum: make([]float64, 256)}
	d := half(b[208:])
	for i := range 256 {
		part, lane := i/128, i%128 // two halves of 128: 64 bytes of low nibbles, 32 bytes of upper pairs of bits
		low := int(b[64*part+lane%64]>>(lane/64*4)) & 15
		high := int(b[128+32*part+lane%32]>>(lane/32*2)) & 3
		out.integer[i] = low + high*16 - 32
		out.scale[i] = d * float64(int8(b[192+i/16]))
	}
	return out
}
