package kernels

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"touchstone/fixtures/quantize"
)

// What the quantiser of the fixtures writes is read by the references: every value within half a step of its block, or within
// half a unit in the last place of a float format.
func TestQuantiserIsWithinHalfAStep(t *testing.T) {
	const slack = 1 + 0x1p-5 // the ends of a range may be missed by the rounding of the scale, 31 steps of 2^-11 and less
	random := rand.New(rand.NewPCG(11, 27))
	for _, f := range formats {
		stored, err := quantize.Named(strings.ToUpper(f.name))
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range quantiserRows(random) {
			data := quantize.Append(nil, stored, row)
			if len(data) != f.rowBytes(len(row)) {
				t.Fatalf("%s: a row of %d takes %d bytes, want %d", f.name, len(row), len(data), f.rowBytes(len(row)))
			}
			values, steps := f.values(data), f.steps(data, row)
			for i, want := range row {
				if difference := math.Abs(values[i] - float64(want)); difference > slack*steps[i]/2 {
					t.Fatalf("%s: value %d is %g, read as %g: the step is %g", f.name, i, want, values[i], steps[i])
				}
			}
		}
	}
}

// quantiserRows are normal values about 0, about 1, all of one sign, zero, and of very different size between groups.
func quantiserRows(random *rand.Rand) [][]float32 {
	const length = 512
	rows := make([][]float32, 6)
	for i := range length {
		normal := random.NormFloat64()
		for r, value := range []float64{normal, 1 + normal, math.Abs(normal), -math.Abs(normal), 0, math.Ldexp(normal, i/16%4*2-8)} {
			rows[r] = append(rows[r], float32(value))
		}
	}
	return rows
}

// steps are the distances between neighbouring values of each stored element.
func (f format) steps(data []byte, row []float32) []float64 {
	var out []float64
	if f.quantised() {
		for at := 0; at < len(data); at += f.bytes {
			out = append(out, f.decode(data[at:at+f.bytes]).scale...)
		}
		return out
	}
	digits := map[string]int{"f32": 24, "f16": 11, "bf16": 8}[f.name]
	for _, value := range row {
		_, exponent := math.Frexp(float64(value))
		out = append(out, math.Ldexp(1, max(exponent-digits, -24)))
	}
	return out
}
