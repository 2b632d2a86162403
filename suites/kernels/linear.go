package kernels

import (
	"fmt"
	"math"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// linearCase is a matrix product out[m][n] = sum_k weight[n][k] x[m][k] (+ bias[n]).
type linearCase struct {
	f       format
	k, n, m int
	bias    bool
	seed    uint64
}

func (l linearCase) name() string {
	parameters := []any{"K", l.k, "N", l.n, "M", l.m, "seed", l.seed}
	if l.bias {
		parameters = append(parameters, "bias", 1)
	}
	return caseName("linear", l.f.name, parameters...)
}

// inputs makes the operands; the rows of x depend on their number alone, so that row m is the same in every batch.
func (l linearCase) inputs() (weight []byte, x, bias []float32) {
	random := newRandom(l.seed)
	weight = l.f.random(random, l.k, l.n)
	if l.bias {
		bias = normals(random, l.n)
	}
	for m := range l.m {
		x = append(x, normals(newRandom(l.seed+1000*uint64(m+1)), l.k)...)
	}
	return weight, x, bias
}

func (l linearCase) op(weight []byte, x, bias []float32) native.Op {
	op := native.Op{
		Name:    "linear",
		Inputs:  []native.Tensor{l.f.tensor(weight, l.k, l.n), floatTensor(x, l.k, l.m)},
		Outputs: []native.Tensor{floatOutput(l.n, l.m)},
	}
	if l.bias {
		op.Inputs = append(op.Inputs, floatTensor(bias, l.n))
	}
	return op
}

// check compares with the contract: float weights, or quantised ones with activations rounded as it says.
func (l linearCase) check() check { return l.compare(l.f.product) }

// compare is the case with a reference for the product of a stored row with a row of activations.
func (l linearCase) compare(dot func(stored []byte, row []float32) (want, bound float64)) check {
	weight, x, bias := l.inputs()
	c := check{
		name: l.name(), format: l.f.name, op: l.op(weight, x, bias),
		at: func(i int) string { return fmt.Sprintf("out[row %d][%d]", i/l.n, i%l.n) },
	}
	for m := range l.m {
		row := x[m*l.k:][:l.k]
		for n := range l.n {
			stored := weight[n*l.f.rowBytes(l.k):][:l.f.rowBytes(l.k)]
			want, bound := withBias(bias, n)(dot(stored, row))
			c.want, c.bound = append(c.want, want), append(c.bound, bound)
		}
	}
	return c
}

// product is that of a stored row and activations, with its bound.
func (f format) product(stored []byte, x []float32) (want, bound float64) {
	if f.quantised() {
		return f.quantisedDot(stored, x)
	}
	return plainDot(f.values(stored), x)
}

// dot is one output with its bound: the product of a stored row and activations, and the bias if there is one.
func (f format) dot(stored []byte, x, bias []float32, n int) (want, bound float64) {
	return withBias(bias, n)(f.product(stored, x))
}

// withBias adds the bias of output n, if there is one, and the roundings that every bound leaves room for.
func withBias(bias []float32, n int) func(want, bound float64) (float64, float64) {
	return func(want, bound float64) (float64, float64) {
		if bias != nil {
			want += float64(bias[n])
			bound += u * (math.Abs(want) + math.Abs(float64(bias[n])))
		}
		return want, bound*slack + underflow
	}
}

// plainDot: a chain of fused operations over at most 128 terms, then the sum of the chains. A term passes through at most
// 128 + K/128 roundings, so the error is at most that many u times the sum of the terms' magnitudes (Higham, Accuracy and
// Stability of Numerical Algorithms, section 3.1).
func plainDot(weight []float64, x []float32) (want, bound float64) {
	const segment = 128
	var magnitude float64
	for k := range weight {
		term := weight[k] * float64(x[k])
		want += term
		magnitude += math.Abs(term)
	}
	roundings := min(len(weight), segment) + (len(weight)+segment-1)/segment
	return want, float64(roundings) * u * magnitude
}

// quantisedDot: activations are rounded to 16 bits per 32 of them, by the rule of NUMERICS.md, and integer sums are exact.
// What rounds is: the product of the two scales, the integer sum as a float, the same for the minimum, and the chain
// over the blocks of a segment, two terms each, and the sum of the segments: at most blocks + 6 roundings of the terms.
func (f format) quantisedDot(stored []byte, x []float32) (want, bound float64) {
	var magnitude float64
	for at := 0; at < len(x); at += f.elements {
		d := f.decode(stored[at/f.elements*f.bytes:][:f.bytes])
		for from := 0; from < f.elements; from += 32 {
			q, step := quantise(x[at+from:][:32])
			// Elements that share a scale are summed exactly: 16 of them, or all 32.
			for part := from; part < from+32; part += 16 {
				var sum, plain float64
				for i := part; i < part+16; i++ {
					sum += float64(d.integer[i] * q[i-from])
					plain += float64(q[i-from])
				}
				term, minimum := d.scale[part]*step*sum, d.minimum[part]*step*plain
				want += term + minimum
				magnitude += math.Abs(term) + math.Abs(minimum)
			}
		}
	}
	return want, float64(len(x)/32+6) * u * magnitude
}

// meantDot is the product with the weights that the file means, dequantised, and unrounded activations. A computed one differs
// by at most half a step of each activation (and the rounding of its quotient, 2^-7 of a step), and by quantisedDot's bound.
func (f format) meantDot(stored []byte, x []float32) (want, bound float64) {
	_, bound = f.quantisedDot(stored, x)
	for k, weight := range f.values(stored) {
		want += weight * float64(x[k])
		_, step := quantise(x[k/32*32:][:32])
		bound += math.Abs(weight) * step * (0.5 + 0x1p-7)
	}
	return want, bound
}

// quantise rounds 32 activations to -32512 ... 32512 in steps of the largest magnitude / 32512, ties to even, in binary32.
func quantise(x []float32) (q []int, step float64) {
	largest := float32(0)
	for _, v := range x {
		largest = max(largest, float32(math.Abs(float64(v))))
	}
	q = make([]int, len(x))
	if largest < 0x1p-100 {
		return q, 0
	}
	inverse := float32(32512) / largest
	for i, v := range x {
		q[i] = int(math.RoundToEven(float64(v * inverse)))
	}
	return q, float64(largest / 32512)
}

// linearCases are awkward shapes for one format; slow backends get the small ones.
func linearCases(f format, slow bool) []linearCase {
	type dims struct{ k, n, m int }
	shapes := []dims{{1, 1, 1}, {2, 3, 1}, {31, 7, 2}, {32, 33, 3}, {33, 32, 5}, {97, 33, 3}, {127, 1, 4}, {128, 17, 1}, {129, 31, 7},
		{257, 97, 2}, {300, 65, 17}, {384, 5, 33}, {64, 130, 8}, {1000, 16, 6}}
	if slow {
		shapes = shapes[:8]
	}
	if f.quantised() {
		for i := range shapes {
			shapes[i].k = (1 + i%5) * f.elements
			if f.elements > 32 {
				shapes[i].k = (1 + i%2) * f.elements
			}
		}
	}
	var cases []linearCase
	for i, s := range shapes {
		cases = append(cases, linearCase{f: f, k: s.k, n: s.n, m: s.m, bias: i%3 == 1, seed: uint64(i + 1)})
	}
	return cases
}

// GEMM, deterministic.
func registerLinear(subject func() *target.Target) {
	Describe("GEMM", requirement.Claim("kernel.gemm"), func() {
		It("stays within its bound in every element, over awkward shapes and all weight types", SpecTimeout(specTimeout), func(SpecContext) {
			skipOtherCases("linear")
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				worst := newTally("linear", backend.Name)
				for _, f := range offered(context, backend) {
					for _, l := range linearCases(f, backend.Slow) {
						if wanted(l.name()) {
							l.check().run(context, worst)
						}
					}
				}
				worst.record()
			})
		})

		It("computes with the weights that a quantised file means", SpecTimeout(specTimeout), func(SpecContext) {
			skipOtherCases("linear")
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				worst := newTally("linear, dequantised", backend.Name)
				for _, f := range offered(context, backend) {
					if !f.quantised() {
						continue
					}
					for _, l := range linearCases(f, backend.Slow) {
						if wanted(l.name()) {
							l.compare(f.meantDot).run(context, worst)
						}
					}
				}
				worst.record()
			})
		})

		It("gives the same bits on 100 runs", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				runs := 100
				if backend.Slow {
					runs = 10
				}
				for _, f := range offered(context, backend) {
					l := linearCase{f: f, k: 256, n: 33, m: 3, seed: 7}
					first := runLinear(context, l)
					for run := 1; run < runs; run++ {
						Expect(runLinear(context, l)).To(matchers.HaveSameBits(first), "run %d of %s on %s", run, l.name(), backend.Name)
					}
				}
				evidence.Observe("runs with the same bits on "+backend.Name, runs, "")
			})
		})

		It("gives the same bits with any number of threads", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			backends, err := subject().Backends()
			Expect(err).NotTo(HaveOccurred())
			threads := []int{1, 2, 3, 5}
			for _, backend := range backends {
				var first []float32
				for _, count := range threads {
					context, err := backend.Open(native.ContextOptions{Threads: count})
					Expect(err).NotTo(HaveOccurred(), "%s with %d threads", backend.Name, count)
					DeferCleanup(context.Close)
					got := runLinear(context, linearCase{f: formatNamed("f16"), k: 257, n: 97, m: 5, seed: 7})
					got = append(got, runLinear(context, linearCase{f: formatNamed("q8_0"), k: 256, n: 97, m: 5, seed: 7})...)
					if first == nil {
						first = got
					}
					Expect(got).To(matchers.HaveSameBits(first), "%d threads on %s", count, backend.Name)
				}
			}
			evidence.Observe("numbers of threads with the same bits", threads, "")
		})

		It("gives each row the same bits whatever the number of rows", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				counts := []int{1, 2, 3, 4, 5, 8, 9, 33}
				if backend.Slow {
					counts = counts[:5]
				}
				for _, f := range offered(context, backend) {
					l := linearCase{f: f, k: 256, n: 19, m: counts[len(counts)-1], seed: 3}
					all := runLinear(context, l)
					for _, m := range counts {
						l.m = m
						Expect(runLinear(context, l)).To(matchers.HaveSameBits(all[:m*l.n]), "%s: %d rows on %s", l.name(), m, backend.Name)
					}
				}
				evidence.Observe("numbers of rows with the same bits on "+backend.Name, counts, "")
			})
		})

		It("gives the same bits on every backend", SpecTimeout(specTimeout), func(SpecContext) {
			var names []string
			first := map[string][]float32{}
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				for _, f := range offered(context, backend) {
					l := linearCase{f: f, k: 512, n: 35, m: 3, seed: 11}
					got := runLinear(context, l)
					if first[f.name] == nil {
						first[f.name] = got
					}
					Expect(got).To(matchers.HaveSameBits(first[f.name]), "%s on %s", l.name(), backend.Name)
				}
				names = append(names, backend.Name)
			})
			evidence.Observe("backends with the same bits", names, "")
		})

		It("keeps NaN and infinity in their own row", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				for _, f := range offered(context, backend) {
					l := linearCase{f: f, k: 256, n: 9, m: 3, seed: 5}
					clean := runLinear(context, l)
					for _, poison := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
						weight, x, bias := l.inputs()
						x[l.k+17] = poison // row 1
						got := runOp(context, l.op(weight, x, bias), l.n*l.m)
						for n, value := range got[l.n : 2*l.n] {
							Expect(math.IsNaN(float64(value)) || math.IsInf(float64(value), 0)).To(BeTrue(),
								"%s on %s: out[row 1][%d] is %v although its row holds %v", l.name(), backend.Name, n, value, poison)
						}
						Expect(got[:l.n]).To(matchers.HaveSameBits(clean[:l.n]), "row 0 of %s on %s", l.name(), backend.Name)
						Expect(got[2*l.n:]).To(matchers.HaveSameBits(clean[2*l.n:]), "row 2 of %s on %s", l.name(), backend.Name)
					}
				}
				evidence.Observe("NaN and infinity stay in their row on "+backend.Name, true, "")
			})
		})
	})
}

func runLinear(context native.Context, l linearCase) []float32 {
	GinkgoHelper()
	weight, x, bias := l.inputs()
	return runOp(context, l.op(weight, x, bias), l.n*l.m)
}

// runOp runs an operation with one float output and returns it.
func runOp(context native.Context, op native.Op, elements int) []float32 {
	GinkgoHelper()
	op.Outputs[0].Data = make([]byte, 4*elements)
	Expect(context.RunOp(op)).To(Succeed(), op.Name)
	return floatsOf(op.Outputs[0].Data)
}
