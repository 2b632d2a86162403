package kernels

import (
	"fmt"
	"math"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/library"
	"touchstone/suites/target"
)

// The operations around the matrix products: norms, softmax, activations, addition, rotary positions, attention.
func registerForward(subject func() *target.Target) {
	Describe("the operations between the GEMMs", func() {
		for _, operation := range []struct {
			name  string
			cases func(slow bool) []check
		}{
			{"rms_norm", normCases("rms_norm")}, {"layer_norm", normCases("layer_norm")}, {"softmax", softmaxCases},
			{"swiglu", pointwiseCases("swiglu")}, {"gelu", pointwiseCases("gelu")}, {"add", pointwiseCases("add")},
			{"rope", ropeCases}, {"attention", attentionCases},
		} {
			Describe(operation.name, requirement.Claim("kernel."+strings.ReplaceAll(operation.name, "_", "-")), func() {
				It("stays within its bound in every element", SpecTimeout(specTimeout), func(SpecContext) {
					skipOtherCases(operation.name)
					onEachBackend(subject, func(context native.Context, backend library.Backend) {
						worst := newTally(operation.name, backend.Name)
						for _, c := range operation.cases(backend.Slow) {
							if wanted(c.name) {
								c.run(context, worst)
							}
						}
						worst.record()
					})
				})
			})
		}
		Describe("infinities of softmax", requirement.Claim("kernel.softmax"), func() {
			It("gives minus infinity no share of a softmax, and no numbers where there is no distribution", SpecTimeout(specTimeout), func(SpecContext) {
				low, high, nan := float32(math.Inf(-1)), float32(math.Inf(1)), float32(math.NaN())
				e := float32(math.E)
				for _, c := range []struct{ x, want []float32 }{
					{[]float32{low, 0, 1}, []float32{0, 1 / (1 + e), e / (1 + e)}},
					{[]float32{-3e38, low, 3e38}, []float32{0, 0, 1}},
					{[]float32{low, low, low}, []float32{nan, nan, nan}},
					{[]float32{high, 0, low}, []float32{nan, nan, nan}},
					{[]float32{0, nan, 1}, []float32{nan, nan, nan}},
				} {
					onEachBackend(subject, func(context native.Context, backend library.Backend) {
						got := runOp(context, native.Op{
							Name: "softmax", Inputs: []native.Tensor{floatTensor(c.x, 3, 1)}, Outputs: []native.Tensor{floatOutput(3, 1)},
						}, 3)
						for i, want := range c.want {
							if !math.IsNaN(float64(want)) {
								Expect(got[i]).To(BeNumerically("~", want, 1e-6), "softmax of %v on %s: %v", c.x, backend.Name, got)
							} else {
								Expect(math.IsNaN(float64(got[i]))).To(BeTrue(), "softmax of %v on %s: %v", c.x, backend.Name, got)
							}
						}
					})
				}
				evidence.Observe("infinities in a softmax have one meaning", true, "")
			})
		})
	})
}

// sumRoundings is the most roundings that a term of a sum over n elements passes through: 32 lanes, then a tree.
func sumRoundings(n int) float64 { return float64((n+31)/32 + 5) }

// sizes are lengths that are multiples of nothing, and some that are.
func sizes(slow bool) []int {
	if slow {
		return []int{1, 31, 33, 64}
	}
	return []int{1, 2, 3, 7, 31, 32, 33, 64, 97, 127, 256, 1001}
}

func normCases(name string) func(bool) []check {
	return func(slow bool) []check {
		var out []check
		for i, width := range sizes(slow) {
			out = append(out, normCheck(name, width, 1+i%4, uint64(i+1)))
		}
		return out
	}
}

func normCheck(name string, width, rows int, seed uint64) check {
	const epsilon = 1e-5
	random := newRandom(seed)
	x, weight, bias := normals(random, width*rows), normals(random, width), normals(random, width)
	for i := range x {
		x[i] = x[i]*3 + 0.5
	}
	c := check{
		name: caseName(name, "f32", "width", width, "rows", rows, "seed", seed), format: "f32",
		op: native.Op{
			Name: name, Inputs: []native.Tensor{floatTensor(x, width, rows), floatTensor(weight, width)},
			Outputs: []native.Tensor{floatOutput(width, rows)}, Parameters: map[string]float64{"epsilon": epsilon},
		},
		at: func(i int) string { return fmt.Sprintf("out[row %d][%d]", i/width, i%width) },
	}
	if name == "layer_norm" {
		c.op.Inputs = append(c.op.Inputs, floatTensor(bias, width))
	}
	for row := range rows {
		values := x[row*width:][:width]
		for i := range values {
			want, bound := rmsNorm(values, weight, float64(float32(epsilon)), i)
			if name == "layer_norm" {
				want, bound = layerNorm(values, weight, bias, float64(float32(epsilon)), i)
			}
			c.want, c.bound = append(c.want, want), append(c.bound, bound*slack+underflow)
		}
	}
	return c
}

// rmsNorm: the squares are all positive, so their sum, divided and with epsilon added, has a relative error of at most
// (sum + 4) u; the root halves it; root, reciprocal and two products add 4 u.
func rmsNorm(x, weight []float32, epsilon float64, i int) (want, bound float64) {
	var squares float64
	for _, v := range x {
		squares += float64(v) * float64(v)
	}
	want = float64(x[i]) / math.Sqrt(squares/float64(len(x))+epsilon) * float64(weight[i])
	return want, math.Abs(want) * u * ((sumRoundings(len(x))+4)/2 + 4)
}

// layerNorm: the mean has an error of (sum + 1) u of the mean magnitude, which every centred value inherits; the variance
// gets it twice over, weighted with the centred values, and its own sum's rounding; then as in rmsNorm.
func layerNorm(x, weight, bias []float32, epsilon float64, i int) (want, bound float64) {
	n := float64(len(x))
	var mean, magnitude float64
	for _, v := range x {
		mean += float64(v) / n
		magnitude += math.Abs(float64(v)) / n
	}
	meanError := (sumRoundings(len(x)) + 1) * u * magnitude
	var variance, varianceError float64
	for _, v := range x {
		centred := float64(v) - mean
		centredError := meanError + u*math.Abs(centred)
		variance += centred * centred / n
		varianceError += (2*math.Abs(centred)*centredError + centredError*centredError) / n
	}
	varianceError += (sumRoundings(len(x)) + 4) * u * (variance + epsilon)
	inverse := 1 / math.Sqrt(variance+epsilon)
	centred := float64(x[i]) - mean
	scaled := centred * inverse * float64(weight[i])
	want = scaled + float64(bias[i])
	relative := varianceError/(2*(variance+epsilon)) + 4*u
	bound = math.Abs(float64(weight[i]))*inverse*(meanError+u*math.Abs(centred)) + math.Abs(scaled)*relative + u*math.Abs(want)
	return want, bound * 1.1 // the variance's error is not small against it in rows of one or two elements
}

func softmaxCases(slow bool) []check {
	var out []check
	for i, width := range sizes(slow) {
		rows, seed := 1+i%3, uint64(i+1)
		x := normals(newRandom(seed), width*rows)
		for j := range x {
			x[j] *= float32(1 + 6*(i%4)) // flat and peaked rows
		}
		c := check{
			name: caseName("softmax", "f32", "width", width, "rows", rows, "seed", seed), format: "f32",
			op: native.Op{Name: "softmax", Inputs: []native.Tensor{floatTensor(x, width, rows)}, Outputs: []native.Tensor{floatOutput(width, rows)}},
			at: func(i int) string { return fmt.Sprintf("out[row %d][%d]", i/width, i%width) },
		}
		for row := range rows {
			scores, errors := make([]float64, width), make([]float64, width)
			for j := range scores {
				scores[j] = float64(x[row*width+j])
			}
			p, relative := softmax(scores, errors)
			for j := range p {
				c.want, c.bound = append(c.want, p[j]), append(c.bound, p[j]*relative[j]*slack+underflow)
			}
		}
		out = append(out, c)
	}
	return out
}

// softmax gives probabilities and the relative error of each: exp turns the absolute error of its argument into a relative
// one and adds 2 u of its own; the sum has the weighted mean of those and its own rounding; the division one u more.
func softmax(scores, scoreErrors []float64) (p, relative []float64) {
	largest := math.Inf(-1)
	largestError := 0.0
	for j, s := range scores {
		if s > largest {
			largest, largestError = s, scoreErrors[j]
		}
	}
	p, relative = make([]float64, len(scores)), make([]float64, len(scores))
	var total, weighted float64
	for j, s := range scores {
		p[j] = math.Exp(s - largest)
		relative[j] = scoreErrors[j] + largestError + math.Abs(s-largest)*u + 2*u
		total += p[j]
		weighted += p[j] * relative[j]
	}
	for j := range p {
		p[j] /= total
		relative[j] += weighted/total + (sumRoundings(len(scores))+2)*u
	}
	return p, relative
}

func pointwiseCases(name string) func(bool) []check {
	return func(slow bool) []check {
		var out []check
		for i, n := range sizes(slow) {
			seed := uint64(i + 1)
			random := newRandom(seed)
			a, b := normals(random, n), normals(random, n)
			for j := range a {
				a[j] *= float32(1 + 4*(i%3))
			}
			for j, edge := range []float32{0, -88, 88, -100, 100, float32(math.Copysign(0, -1)), 1e-30} {
				if j < n && i%2 == 1 {
					a[j] = edge
				}
			}
			c := check{
				name: caseName(name, "f32", "n", n, "seed", seed), format: "f32",
				op: native.Op{Name: name, Inputs: []native.Tensor{floatTensor(a, n), floatTensor(b, n)}, Outputs: []native.Tensor{floatOutput(n)}},
			}
			if name == "gelu" {
				c.op.Inputs = c.op.Inputs[:1]
			}
			for j := range a {
				want, bound := pointwise(name, float64(a[j]), float64(b[j]))
				c.want, c.bound = append(c.want, want), append(c.bound, bound)
			}
			out = append(out, c)
		}
		return out
	}
}

// expOverflow is what a sigmoid loses when e^89 overflows although the quotient would still be a number: 89 e^-88.7.
const expOverflow = 0x1p-121

// pointwise: addition is one rounding. silu(a) b has 2 u from exp and one each from sum, quotient and product. gelu in tanh
// form equals a sigmoid(2 sqrt(2/pi) (a + 0.044715 a^3)), whose argument has 5 u relative error.
func pointwise(name string, a, b float64) (want, bound float64) {
	switch name {
	case "add":
		return float64(float32(a + b)), 0
	case "swiglu":
		want = a / (1 + math.Exp(-a)) * b
		return want, math.Abs(want)*5*u*slack + expOverflow*math.Abs(b) + underflow
	}
	argument := 2 * math.Sqrt(2/math.Pi) * (a + 0.044715*a*a*a)
	want = a / (1 + math.Exp(-argument))
	return want, math.Abs(want)*(5*u*math.Abs(argument)+5*u)*slack + expOverflow + underflow
}

func ropeCases(slow bool) []check {
	var out []check
	for i, s := range []struct{ headDim, dims, heads, rows int }{{2, 2, 1, 1}, {8, 8, 3, 5}, {64, 64, 2, 7}, {10, 6, 3, 4}, {32, 32, 1, 33}} {
		if slow && i > 2 {
			break
		}
		for _, kind := range []native.PositionKind{native.PositionRopeNeox, native.PositionRopeInterleaved} {
			out = append(out, ropeCheck(s.headDim, s.dims, s.heads, s.rows, kind, uint64(i+1)))
		}
	}
	return out
}

// ropeCheck rotates pairs: neox pairs element i with i + dims/2, interleaved 2i with 2i + 1; elements beyond dims stay. Each
// result is two products and a sum: at most 2 u of the products' magnitudes.
func ropeCheck(headDim, dims, heads, rows int, kind native.PositionKind, seed uint64) check {
	const length = 41
	random := newRandom(seed)
	x := normals(random, headDim*heads*rows)
	cos, sin := make([]float32, length*dims/2), make([]float32, length*dims/2)
	for position := range length {
		for i := range dims / 2 {
			angle := float64(position) * math.Pow(10000, -2*float64(i)/float64(dims))
			cos[position*dims/2+i], sin[position*dims/2+i] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	positions := make([]int32, rows)
	for i := range positions {
		positions[i] = int32(random.IntN(length))
	}
	positions[0] = length - 1
	c := check{
		name: caseName("rope", "f32", "head_dim", headDim, "dims", dims, "heads", heads, "rows", rows, "kind", int(kind), "seed", seed), format: "f32",
		op: native.Op{
			Name: "rope",
			Inputs: []native.Tensor{
				floatTensor(x, headDim, heads, rows), intTensor(positions), floatTensor(cos, dims/2, length), floatTensor(sin, dims/2, length),
			},
			Outputs: []native.Tensor{floatOutput(headDim, heads, rows)}, Parameters: map[string]float64{"kind": float64(kind)},
		},
		at: func(i int) string {
			return fmt.Sprintf("out[row %d][head %d][%d]", i/headDim/heads, i/headDim%heads, i%headDim)
		},
	}
	for row := range rows {
		for head := range heads {
			values := x[(row*heads+head)*headDim:][:headDim]
			want, bound := make([]float64, headDim), make([]float64, headDim)
			for i := range values {
				want[i] = float64(values[i])
			}
			for i := range dims / 2 {
				first, second := i, i+dims/2
				if kind == native.PositionRopeInterleaved {
					first, second = 2*i, 2*i+1
				}
				a, b := float64(values[first]), float64(values[second])
				cosine, sine := float64(cos[int(positions[row])*dims/2+i]), float64(sin[int(positions[row])*dims/2+i])
				want[first], want[second] = a*cosine-b*sine, a*sine+b*cosine
				bound[first] = 2*u*(math.Abs(a*cosine)+math.Abs(b*sine))*slack + underflow
				bound[second] = 2*u*(math.Abs(a*sine)+math.Abs(b*cosine))*slack + underflow
			}
			c.want, c.bound = append(c.want, want...), append(c.bound, bound...)
		}
	}
	return c
}

func attentionCases(slow bool) []check {
	var out []check
	for i, s := range []struct{ headDim, heads, kvHeads, length, rows int }{
		{8, 1, 1, 1, 1}, {16, 2, 1, 31, 2}, {32, 4, 2, 33, 3}, {64, 2, 2, 97, 4}, {10, 3, 1, 64, 5}, {48, 6, 2, 130, 2},
	} {
		if slow && i > 2 {
			break
		}
		out = append(out, attentionCheck(s.headDim, s.heads, s.kvHeads, s.length, s.rows, uint64(i+1)))
	}
	return out
}

// attentionCheck: a score is a chain over the head dimension, (head_dim + 2) u of its terms' magnitudes; softmax as above; the
// weighted sum of V is a chain of at most `length` roundings. Keys and values are rounded to binary16 when they are stored.
func attentionCheck(headDim, heads, kvHeads, length, rows int, seed uint64) check {
	random := newRandom(seed)
	scale := 1 / math.Sqrt(float64(headDim))
	q, k, v := normals(random, headDim*heads*rows), normals(random, headDim*kvHeads*length), normals(random, headDim*kvHeads*length)
	positions := make([]int32, rows)
	for i := range positions {
		positions[i] = int32(random.IntN(length))
	}
	positions[rows-1] = int32(length - 1)
	c := check{
		name:   caseName("attention", "f16", "head_dim", headDim, "heads", heads, "kv_heads", kvHeads, "length", length, "rows", rows, "seed", seed),
		format: "f16",
		op: native.Op{
			Name: "attention",
			Inputs: []native.Tensor{
				floatTensor(q, headDim, heads, rows), floatTensor(k, headDim, kvHeads, length), floatTensor(v, headDim, kvHeads, length), intTensor(positions),
			},
			Outputs: []native.Tensor{floatOutput(headDim, heads, rows)}, Parameters: map[string]float64{"scale": scale},
		},
		at: func(i int) string {
			return fmt.Sprintf("out[row %d][head %d][%d]", i/headDim/heads, i/headDim%heads, i%headDim)
		},
	}
	stored := func(values []float32, position, head, i int) float64 {
		return roundToHalf(values[(position*kvHeads+head)*headDim+i])
	}
	for row := range rows {
		visible := int(positions[row]) + 1
		for head := range heads {
			kvHead := head / (heads / kvHeads)
			scores, errors := make([]float64, visible), make([]float64, visible)
			for position := range visible {
				var dot, magnitude float64
				for i := range headDim {
					term := float64(q[(row*heads+head)*headDim+i]) * stored(k, position, kvHead, i)
					dot, magnitude = dot+term, magnitude+math.Abs(term)
				}
				scores[position] = dot * float64(float32(scale))
				errors[position] = magnitude * scale * float64(headDim+2) * u
			}
			p, relative := softmax(scores, errors)
			for i := range headDim {
				var want, bound float64
				for position := range visible {
					term := p[position] * stored(v, position, kvHead, i)
					want += term
					bound += math.Abs(term) * (relative[position] + float64(visible+2)*u)
				}
				c.want, c.bound = append(c.want, want), append(c.bound, bound*slack+underflow)
			}
		}
	}
	return c
}

// roundToHalf rounds to binary16 and back.
func roundToHalf(value float32) float64 {
	bits := halfBits(float64(value))
	return half([]byte{byte(bits), byte(bits >> 8)})
}
