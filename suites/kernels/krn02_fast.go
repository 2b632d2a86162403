package kernels

import (
	"fmt"
	"math"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

const (
	// halfUnit is the unit roundoff of binary16, halfSubnormal half the distance of its smallest numbers.
	halfUnit      = 0x1p-11
	halfSubnormal = 0x1p-25
	// fewRows is the most rows that the fast numerics compute as the canonical ones do.
	fewRows = 16
)

// KRN-02, the cuBLAS wrapper: linear layers of many rows under native.NumericsFast.
func registerFast(subject func() *target.Target) {
	Describe("GEMM by cuBLAS, not canonical", requirement.ID("KRN-02"), func() {
		It("is offered by every CUDA device, and refused in words elsewhere", SpecTimeout(specTimeout), func(SpecContext) {
			offers := []string{}
			onEachBackend(subject, func(_ native.Context, backend target.Backend) {
				context, err := backend.Open(native.ContextOptions{Numerics: native.NumericsFast})
				if backend.Device.Kind == native.DeviceCUDA {
					Expect(err).NotTo(HaveOccurred(), "open %s with the fast numerics", backend.Name)
				}
				if err == nil {
					offers = append(offers, backend.Name)
					Expect(context.Close()).To(Succeed())
					return
				}
				Expect(err).To(matchers.HaveStatus(native.StatusUnsupported), "open %s with the fast numerics", backend.Name)
				Expect(err.Error()).To(ContainSubstring("CUDA"), "who offers them")
			})
			evidence.Observe("devices with cuBLAS, not canonical", offers, "")
		})

		It("stays within the bound of binary16 inputs in every element", SpecTimeout(specTimeout), func(SpecContext) {
			skipOtherCases("linear-fast")
			onEachFast(subject, func(context native.Context, backend target.Backend) {
				worst := newTally("linear by cuBLAS, not canonical", backend.Name)
				for _, f := range offered(context, backend) {
					for _, l := range fastCases(f) {
						if c := l.fastCheck(); wanted(c.name) {
							c.run(context, worst)
						}
					}
				}
				worst.record()
			})
		})

		It("gives the same bits on 100 runs", SpecTimeout(specTimeout), func(SpecContext) {
			onEachFast(subject, func(context native.Context, backend target.Backend) {
				const runs = 100
				again := openFast(backend)
				for _, f := range offered(context, backend) {
					// Many inputs for few outputs: where a library likes to split sums.
					l := linearCase{f: f, k: 4096, n: 33, m: 65, seed: 7}
					op := l.op(l.inputs())
					first := runOp(context, op, l.n*l.m)
					for run := 1; run < runs; run++ {
						Expect(runOp(context, op, l.n*l.m)).To(matchers.HaveSameBits(first), "run %d of %s on %s", run, l.name(), backend.Name)
					}
					Expect(runOp(again, op, l.n*l.m)).To(matchers.HaveSameBits(first), "another context: %s on %s", l.name(), backend.Name)
				}
				evidence.Observe("runs with the same bits by cuBLAS, not canonical, on "+backend.Name, runs, "")
			})
		})

		It("computes many rows otherwise than the canonical kernels, and few rows as they do", SpecTimeout(specTimeout), func(SpecContext) {
			onEachFast(subject, func(context native.Context, backend target.Backend) {
				canonical := openContext(backend)
				for _, f := range offered(context, backend) {
					l := linearCase{f: f, k: 1024, n: 65, m: 64, seed: 9}
					Expect(runLinear(context, l)).NotTo(matchers.HaveSameBits(runLinear(canonical, l)),
						"%s on %s: rounding activations to binary16 must show, so something else ran", l.name(), backend.Name)
					l.m = fewRows
					Expect(runLinear(context, l)).To(matchers.HaveSameBits(runLinear(canonical, l)), "%s on %s", l.name(), backend.Name)
				}
				evidence.Observe("differs from the canonical bits on "+backend.Name, fmt.Sprintf("above %d rows", fewRows), "")
			})
		})

		It("takes rows of any magnitude, and keeps NaN and infinity in their own row", SpecTimeout(specTimeout), func(SpecContext) {
			onEachFast(subject, func(context native.Context, backend target.Backend) {
				l := linearCase{f: formatNamed("f16"), k: 256, n: 19, m: 33, seed: 5}
				weight, x, bias := l.inputs()
				clean := runOp(context, l.op(weight, x, bias), l.n*l.m)
				for row, factor := range map[int]float32{0: 0x1p60, 1: 0x1p-60, 2: 0x1p16} {
					for i := range l.k {
						x[row*l.k+i] *= factor
					}
				}
				poisoned := map[int]float32{17: float32(math.NaN()), 18: float32(math.Inf(1))}
				for row, value := range poisoned {
					x[row*l.k+3] = value
				}
				got := runOp(context, l.op(weight, x, bias), l.n*l.m)
				for i, value := range got {
					row := i / l.n
					switch _, damaged := poisoned[row]; {
					case damaged:
						Expect(math.IsNaN(float64(value)) || math.IsInf(float64(value), 0)).To(BeTrue(), "out[row %d][%d] is %v", row, i%l.n, value)
					case row > 2:
						Expect(value).To(Equal(clean[i]), "out[row %d][%d]", row, i%l.n)
					default: // a power of two more or less changes no bit but the exponent
						scale := map[int]float32{0: 0x1p60, 1: 0x1p-60, 2: 0x1p16}[row]
						Expect(value).To(Equal(clean[i]*scale), "out[row %d][%d], scaled by %v", row, i%l.n, scale)
					}
				}
				evidence.Observe("rows beyond the range of binary16 by cuBLAS, not canonical, on "+backend.Name, true, "")
			})
		})
	})
}

// onEachFast runs a body on a context of every backend that offers the fast numerics. Where none does, that part is not run.
func onEachFast(subject func() *target.Target, body func(context native.Context, backend target.Backend)) {
	GinkgoHelper()
	subject().Require(target.Native)
	backends, err := subject().Backends()
	Expect(err).NotTo(HaveOccurred())
	ran := false
	for _, backend := range backends {
		context, err := backend.Open(native.ContextOptions{Numerics: native.NumericsFast})
		if native.StatusOf(err) == native.StatusUnsupported {
			continue
		}
		Expect(err).NotTo(HaveOccurred(), "open %s with the fast numerics", backend.Name)
		DeferCleanup(context.Close)
		By("on " + backend.Name)
		body(context, backend)
		ran = true
	}
	if !ran {
		evidence.NotRun("GEMM by cuBLAS, not canonical", "needs a CUDA device")
	}
}

// openFast opens a backend with the fast numerics for the duration of the spec.
func openFast(backend target.Backend) native.Context {
	GinkgoHelper()
	context, err := backend.Open(native.ContextOptions{Numerics: native.NumericsFast})
	Expect(err).NotTo(HaveOccurred(), "open %s with the fast numerics", backend.Name)
	DeferCleanup(context.Close)
	return context
}

// fastCases are shapes above and at the edge of fewRows for one format, awkward ones among them.
func fastCases(f format) []linearCase {
	type dims struct{ k, n, m int }
	shapes := []dims{{1, 1, 17}, {33, 7, 18}, {129, 33, 17}, {257, 97, 64}, {300, 65, 33}, {1000, 130, 100}, {640, 256, 128}}
	var cases []linearCase
	for i, s := range shapes {
		if f.quantised() {
			s.k = (1 + i%4) * f.elements
		}
		cases = append(cases, linearCase{f: f, k: s.k, n: s.n, m: s.m, bias: i%2 == 1, seed: uint64(i + 1)})
	}
	return cases
}

// fastCheck is a case with the bound of the fast numerics. A term's weight and activation are rounded to binary16 each
// (halfUnit, or the distance of subnormals: of the weight as it is, of the activation after its row was scaled to 2^14 or
// more). The weight was dequantised before, with at most one rounding to binary32. Sums are in binary32 in any order. Tensor cores
// cut off instead of rounding, a block of terms at a time, each against the largest of them and the sum so far: at most
// four u a term of the terms' magnitudes (Fasi, Higham, Mikaitis, Pranesh, "Numerical behavior of NVIDIA tensor cores").
func (l linearCase) fastCheck() check {
	weight, x, bias := l.inputs()
	c := check{
		name: "linear-fast" + l.name()[len("linear"):], format: l.f.name, op: l.op(weight, x, bias),
		at: func(i int) string { return fmt.Sprintf("out[row %d][%d]", i/l.n, i%l.n) },
	}
	weights := make([][]float64, l.n)
	for n := range weights {
		weights[n] = l.f.values(weight[n*l.f.rowBytes(l.k):][:l.f.rowBytes(l.k)])
	}
	for m := range l.m {
		row := x[m*l.k:][:l.k]
		magnitudes := make([]float64, l.k)
		for k, v := range row {
			magnitudes[k] = math.Abs(float64(v))
		}
		step := halfSubnormal * slices.Max(magnitudes) / 0x1p14
		for n := range l.n {
			var want, magnitude, bound float64
			for k, w := range weights[n] {
				want += w * float64(row[k])
				term := (math.Abs(w) + halfSubnormal) * (magnitudes[k] + step)
				magnitude += term
				bound += term*(2*halfUnit+u) + halfSubnormal*magnitudes[k] + math.Abs(w)*step
			}
			bound += 4 * u * float64(l.k) * magnitude
			if l.bias {
				want += float64(bias[n])
				bound += u * (math.Abs(want) + math.Abs(float64(bias[n])))
			}
			c.want, c.bound = append(c.want, want), append(c.bound, bound*slack+underflow)
		}
	}
	return c
}
