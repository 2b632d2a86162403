package kernels

import (
	"fmt"
	"math/rand/v2"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/expectation"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// largeLinear are sizes of real models' layers: many inputs and few outputs, or the other way round, so that every path of a kernel
// that depends on a size is taken at little cost. Of the outputs some are worked out, at random and at both ends.
var largeLinear = []largeCase{
	{k: 18944, n: 67, m: 2},   // inputs of the largest feed-forward layer of a 7B model
	{k: 2048, n: 1031, m: 1},  // both beyond a thousand
	{k: 4864, n: 33, m: 17},   // a batch
	{k: 256, n: 152064, m: 1}, // outputs: a vocabulary
}

// slowLinear are those that a slow backend gets.
var slowLinear = []largeCase{{k: 2304, n: 33, m: 1, slow: true}, {k: 256, n: 1100, m: 1, slow: true}}

const outputsWorkedOut = 24

func registerSizes(subject func() *target.Target) {
	Describe("GEMM of real sizes", requirement.Claim("kernel.gemm"), func() {
		It("stays within its bound up to 18,944 inputs and 152,064 outputs, for all weight types", SpecTimeout(specTimeout), func(SpecContext) {
			seed, index := drawnCase("linear-large")
			var places []place
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				places = append(places, place{context, backend, offered(context, backend), newTally("linear", backend.Name)})
			})
			for i, f := range formats {
				for j, l := range slices.Concat(largeLinear, slowLinear) {
					asked := slices.DeleteFunc(slices.Clone(places), func(p place) bool { return !p.takes(f, l) })
					if len(asked) > 0 {
						l.f, l.slow = f, false
						l.run(asked, expectation.Random(seed, index+100*i+j), expectation.Name("linear-large", seed, index))
					}
				}
			}
			for _, p := range places {
				p.worst.record()
			}
		})
	})
	Describe("embedding lookup of real sizes", requirement.Claim("kernel.embedding"), func() {
		It("finds every row of a table of 152,064", SpecTimeout(specTimeout), func(SpecContext) {
			seed, index := drawnCase("embedding-large")
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				vocab := 152064
				if backend.Slow {
					vocab = 66000
				}
				r := expectation.Random(seed, index)
				f := formatNamed("f16")
				const width = 8
				table := f.random(r, width, vocab)
				ids := []int32{0, 1, 1023, 1024, 32767, 32768, 65535, 65536, int32(vocab - 1)}
				for range 64 {
					ids = append(ids, int32(r.IntN(vocab)))
				}
				got := runOp(context, embeddingOp(f, table, width, vocab, ids), width*len(ids))
				for i, id := range ids {
					want := f.values(table[int(id)*f.rowBytes(width):][:f.rowBytes(width)])
					for column, value := range want {
						Expect(float64(got[i*width+column])).To(Equal(value), "row of id %d, column %d on %s, run seed %d", id, column, backend.Name, seed)
					}
				}
				evidence.Observe(fmt.Sprintf("rows of %d found on %s, run seed %d", vocab, backend.Name, seed), len(ids), "")
			})
		})
	})
}

// place is a backend under test with its context.
type place struct {
	context native.Context
	backend library.Backend
	formats []format
	worst   *tally
}

// takes tells whether a backend is asked for a case. Scalar code takes seconds for wide layers of blocks: there it is asked for
// those of single elements alone.
func (p place) takes(f format, l largeCase) bool {
	wide := l.n > 2048 && p.backend.Name == "cpu/scalar" && f.quantised()
	return l.slow == p.backend.Slow && !wide && slices.ContainsFunc(p.formats, func(o format) bool { return o.name == f.name })
}

// largeCase is a matrix product of which some outputs are worked out.
type largeCase struct {
	f       format
	k, n, m int
	slow    bool // small enough for a slow backend
}

// weights are rows taken at random from a few hundred different ones: drawing all of them would take most of the time.
func (l largeCase) weights(r *rand.Rand) []byte {
	const different = 61
	bytes := l.f.rowBytes(l.k)
	rows := l.f.random(r, l.k, min(l.n, different))
	if l.n <= different {
		return rows
	}
	out := make([]byte, 0, bytes*l.n)
	for range l.n {
		at := r.IntN(different) * bytes
		out = append(out, rows[at:at+bytes]...)
	}
	return out
}

// outputs are those that are worked out: the first, the last, those around powers of two, and random ones.
func (l largeCase) outputs(r *rand.Rand) []int {
	out := []int{0, l.n - 1}
	for power := 1024; power < l.n; power *= 2 {
		out = append(out, power-1, power)
	}
	for range outputsWorkedOut {
		out = append(out, r.IntN(l.n))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// run makes the operands once and asks every place for the product.
func (l largeCase) run(places []place, r *rand.Rand, name string) {
	GinkgoHelper()
	weight, x := l.weights(r), normals(r, l.k*l.m)
	inputs := []native.Tensor{l.f.tensor(weight, l.k, l.n), floatTensor(x, l.k, l.m)}
	var bias []float32
	if r.IntN(2) == 0 {
		bias = normals(r, l.n)
		inputs = append(inputs, floatTensor(bias, l.n))
	}
	outputs := l.outputs(r)
	c := matchers.Bounded{Case: name, At: func(i int) string {
		return fmt.Sprintf("%s K=%d N=%d M=%d: out[row %d][%d]", l.f.name, l.k, l.n, l.m, i/len(outputs), outputs[i%len(outputs)])
	}}
	for m := range l.m {
		for _, n := range outputs {
			want, bound := l.f.dot(weight[n*l.f.rowBytes(l.k):][:l.f.rowBytes(l.k)], x[m*l.k:][:l.k], bias, n)
			c.Want, c.Bound = append(c.Want, want), append(c.Bound, bound)
		}
	}
	for _, p := range places {
		all := runOp(p.context, native.Op{Name: "linear", Inputs: inputs, Outputs: []native.Tensor{floatOutput(l.n, l.m)}}, l.n*l.m)
		c.Got = nil
		for m := range l.m {
			for _, n := range outputs {
				c.Got = append(c.Got, all[m*l.n+n])
			}
		}
		p.worst.add(l.f.name, c)
		Expect(c).To(matchers.BeWithinBound(), "on %s", p.backend.Name)
	}
}
