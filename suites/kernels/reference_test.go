package kernels

import (
	"encoding/binary"
	"math"
	"testing"
)

// The references are checked against values worked out by hand: they judge everything else.
func TestHalfIsReadAndWritten(t *testing.T) {
	for bits, want := range map[uint16]float64{0x0000: 0, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0001: 0x1p-24, 0x0400: 0x1p-14, 0x3555: 0.333251953125} {
		raw := binary.LittleEndian.AppendUint16(nil, bits)
		if got := half(raw); got != want {
			t.Errorf("half(%04x) = %v, want %v", bits, got, want)
		}
		if got := halfBits(want); got != bits {
			t.Errorf("halfBits(%v) = %04x, want %04x", want, got, bits)
		}
	}
	for value, want := range map[float64]uint16{1 + 0x1p-11: 0x3c00, 1 + 3*0x1p-11: 0x3c02, 2047.0 / 2048 * 0x1p-14: 0x0400} { // ties to even
		if got := halfBits(value); got != want {
			t.Errorf("halfBits(%v) = %04x, want %04x", value, got, want)
		}
	}
}

// Each block has scale 2 (and minimum 3), and values whose place in the block is known.
func TestQuantisedBlocksAreReadAsGGUFStoresThem(t *testing.T) {
	two, three := []byte{0x00, 0x40}, []byte{0x00, 0x42}
	block := func(name string, parts ...[]byte) []float64 {
		f := formatNamed(name)
		raw := make([]byte, 0, f.bytes)
		for _, part := range parts {
			raw = append(raw, part...)
		}
		raw = append(raw, make([]byte, f.bytes-len(raw))...)
		return f.values(raw)
	}
	expect := func(name string, got []float64, want map[int]float64) {
		t.Helper()
		for i, w := range want {
			if got[i] != w {
				t.Errorf("%s: value %d is %v, want %v", name, i, got[i], w)
			}
		}
	}
	expect("q8_0", block("q8_0", two, []byte{0x01, 0xff, 0x80}), map[int]float64{0: 2, 1: -2, 2: -256, 3: 0})
	expect("q4_0", block("q4_0", two, []byte{0x9f}), map[int]float64{0: 14, 16: 2, 1: -16, 17: -16})
	expect("q4_1", block("q4_1", two, three, []byte{0x9f}), map[int]float64{0: 33, 16: 21, 1: 3})
	expect("q5_0", block("q5_0", two, []byte{0x01, 0x00, 0x01, 0x00}, []byte{0x9f}), map[int]float64{0: 30, 16: 18, 1: -32})
	expect("q5_1", block("q5_1", two, three, []byte{0x01, 0x00, 0x01, 0x00}, []byte{0x9f}), map[int]float64{0: 65, 16: 53, 1: 3})
	// Sub-block 0 has scale 5 and minimum 1, sub-block 4 has scale 1 + 16 and minimum 2.
	scales := []byte{0x45, 0, 0, 0, 0x01, 0, 0, 0, 0x21, 0, 0, 0}
	expect("q4_k", block("q4_k", two, three, scales, []byte{0x0f}), map[int]float64{0: 2*5*15 - 3, 1: -3, 32: 0, 128: -6})
	high := make([]byte, 32)
	high[0] = 0x01
	expect("q5_k", block("q5_k", two, three, scales, high, []byte{0x0f}), map[int]float64{0: 2*5*31 - 3, 1: -3, 32: 0})
	raw := make([]byte, 210)
	raw[0], raw[128], raw[192], raw[200] = 0xf1, 0x03, 3, 0xff // value 0: 1 + 3*16 - 32 = 17; value 64: 15 - 32
	copy(raw[208:], two)
	expect("q6_k", formatNamed("q6_k").values(raw), map[int]float64{0: 2 * 3 * 17, 1: 2 * 3 * -32, 64: 0, 128: 2 * -1 * -32})
}

func TestChiSquareLimitIsNearTheTable(t *testing.T) {
	for freedom, want := range map[int]float64{5: 25.745, 10: 35.564, 30: 67.633} { // upper 0.0001 quantiles
		if got := chiSquareLimit(freedom); math.Abs(got-want)/want > 0.03 {
			t.Errorf("limit for %d degrees is %v, want about %v", freedom, got, want)
		}
	}
}
