package native

import (
	"encoding/binary"
	"math"

	"touchstone/native/gguf"
)

// RopeTables computes cos and sin of position * frequency[i], times scale, for positions 0 ... length-1, as
// [length][len(frequencies)] each. Every step is one rounded float64 operation of this file, so that all machines get the
// same bits: Go may fuse products and sums inside package math, and some of its functions are assembly.
func RopeTables(frequencies []float64, length int, scale float64) (cos, sin []float32) {
	cos = make([]float32, 0, length*len(frequencies))
	sin = make([]float32, 0, length*len(frequencies))
	for position := range length {
		for _, frequency := range frequencies {
			s, c := sinCos(float64(float64(position) * frequency))
			cos = append(cos, float32(float64(c*scale)))
			sin = append(sin, float32(float64(s*scale)))
		}
	}
	return cos, sin
}

// RopeFrequencies gives base^(-2i/dims) for i below dims/2 (Su et al.: RoFormer, arXiv 2104.09864).
func RopeFrequencies(base float64, dims int) []float64 {
	frequencies := make([]float64, dims/2)
	logarithm := logOf(base)
	for i := range frequencies {
		frequencies[i] = expOf(-float64(float64(float64(2*i)/float64(dims)) * logarithm))
	}
	return frequencies
}

// ropeTables reads the model's base, factors and scaling.
func (r *reader) ropeTables(d *ModelDescription) {
	if d.RopeDims == 0 {
		return
	}
	if d.RopeDims%2 != 0 || d.RopeDims > d.HeadDim {
		r.fail("%s is %d; it must be even and at most the head's %d", r.key("rope.dimension_count"), d.RopeDims, d.HeadDim)
		return
	}
	frequencies := RopeFrequencies(r.numberOr("rope.freq_base", 10000), d.RopeDims)
	if r.has("rope.scaling.type") {
		r.scaleFrequencies(frequencies)
	}
	factors, found := r.file.Tensor("rope_freqs.weight")
	if !found {
		name := "rope_factors_short.weight"
		if original := "rope.scaling.original_context_length"; r.has(original) && d.ContextLength > r.integer(original, mostContext) {
			name = "rope_factors_long.weight"
		}
		factors, found = r.file.Tensor(name)
	}
	if found {
		r.divide(frequencies, factors)
	} else if kind, err := r.file.String(r.key("rope.scaling.type")); err == nil && kind == "longrope" {
		r.fail("%s is longrope, but the file has no tensors rope_factors_long.weight and rope_factors_short.weight", r.key("rope.scaling.type"))
	}
	scale := r.numberOr("rope.scaling.attn_factor", 1)
	if r.err == nil {
		d.RopeCos, d.RopeSin = RopeTables(frequencies, d.ContextLength, scale)
	}
}

func (r *reader) scaleFrequencies(frequencies []float64) {
	kind, err := r.file.String(r.key("rope.scaling.type"))
	switch {
	case err != nil:
		r.fail("%v", err)
	case kind == "none" || kind == "longrope": // longrope's factors are tensors
	case kind == "linear":
		factor := r.number("rope.scaling.factor")
		for i := range frequencies {
			frequencies[i] /= factor
		}
	default:
		r.fail("%s is %q; supported are none, linear and longrope", r.key("rope.scaling.type"), kind)
	}
}

// divide divides the frequencies by a tensor of factors.
func (r *reader) divide(frequencies []float64, factors gguf.Tensor) {
	if factors.Type != gguf.F32 || len(factors.Shape) != 1 || factors.Shape[0] != uint64(len(frequencies)) {
		r.fail("tensor %s is %s %v; it must be F32 with %d elements", factors.Name, factors.Type, factors.Shape, len(frequencies))
		return
	}
	for i := range frequencies {
		factor := float64(math.Float32frombits(binary.LittleEndian.Uint32(factors.Data[4*i:])))
		if !(factor > 0) || math.IsInf(factor, 0) {
			r.fail("tensor %s: element %d is %v; factors must be above 0", factors.Name, i, factor)
			return
		}
		frequencies[i] /= factor
	}
}

// horner evaluates a polynomial, highest coefficient first, without fused operations.
func horner(x float64, coefficients []float64) float64 {
	sum := 0.0
	for _, c := range coefficients {
		sum = float64(sum*x) + c
	}
	return sum
}

// Parts of ln 2 and pi/2 whose products with a 20-bit integer are exact, and what is left of them.
const (
	ln2High, ln2Low                         = 6.93147180369123816490e-01, 1.90821492927058770002e-10
	halfPiHigh, halfPiMiddle, halfPiMiddle2 = 1.57079632673412561417e+00, 6.07710050630396597660e-11, 2.02226624871116645580e-21
)

// Taylor coefficients, highest first: exp, sin(x)/x and cos in x^2, atanh(x)/x in x^2.
var (
	expSeries   = inverseFactorials(17, 1, false)
	sinSeries   = inverseFactorials(19, 2, true)
	cosSeries   = inverseFactorials(20, 2, true)
	atanhSeries = inverseOdds(27)
)

// inverseFactorials gives 1/n!, 1/(n-step)! ... down to 1/0! or 1/1!, with alternating signs that end in plus.
func inverseFactorials(n, step int, alternate bool) []float64 {
	var out []float64
	for k := n; k >= 0; k -= step {
		factorial := 1.0
		for i := 2; i <= k; i++ {
			factorial = float64(factorial * float64(i)) // exact up to 22!
		}
		sign := 1.0
		if alternate && (k/step)%2 == 1 {
			sign = -1
		}
		out = append(out, sign/factorial)
	}
	return out
}

func inverseOdds(n int) []float64 {
	var out []float64
	for k := n; k >= 1; k -= 2 {
		out = append(out, 1/float64(k))
	}
	return out
}

// logOf is the natural logarithm of a positive finite x, to about 1 unit in the last place.
func logOf(x float64) float64 {
	mantissa, exponent := math.Frexp(x)
	if mantissa < math.Sqrt2/2 {
		mantissa, exponent = 2*mantissa, exponent-1
	}
	s := (mantissa - 1) / (mantissa + 1)
	log := float64(2 * float64(s*horner(float64(s*s), atanhSeries)))
	return float64(float64(exponent)*ln2High) + (log + float64(float64(exponent)*ln2Low))
}

// expOf is e^x for |x| below 700, to about 1 unit in the last place.
func expOf(x float64) float64 {
	k := math.Floor(float64(x/math.Ln2) + 0.5)
	r := (x - float64(k*ln2High)) - float64(k*ln2Low)
	return math.Ldexp(horner(r, expSeries), int(k))
}

// sinCos gives sine and cosine of 0 <= x < 2^20, to about 1 unit in the last place of a number near 1.
func sinCos(x float64) (sin, cos float64) {
	k := math.Floor(float64(x*(2/math.Pi)) + 0.5)
	r := ((x - float64(k*halfPiHigh)) - float64(k*halfPiMiddle)) - float64(k*halfPiMiddle2)
	s := float64(r * horner(float64(r*r), sinSeries))
	c := horner(float64(r*r), cosSeries)
	switch int64(k) & 3 {
	case 0:
		return s, c
	case 1:
		return c, -s
	case 2:
		return -s, -c
	default:
		return -c, s
	}
}
