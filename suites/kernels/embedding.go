package kernels

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

func embeddingOp(f format, table []byte, width, vocab int, ids []int32) native.Op {
	return native.Op{
		Name:    "embedding",
		Inputs:  []native.Tensor{f.tensor(table, width, vocab), intTensor(ids)},
		Outputs: []native.Tensor{floatOutput(width, len(ids))},
	}
}

// embeddingCheck looks up ids in a random table. The values of every format are rounded once to binary32: the bound is 0.
func embeddingCheck(f format, width, vocab int, ids []int32, seed uint64) check {
	table := f.random(newRandom(seed), width, vocab)
	c := check{
		name: caseName("embedding", f.name, "width", width, "vocab", vocab, "ids", len(ids), "seed", seed), format: f.name,
		op: embeddingOp(f, table, width, vocab, ids),
	}
	for _, id := range ids {
		row := table[int(id)*f.rowBytes(width):][:f.rowBytes(width)]
		for _, value := range f.values(row) {
			c.want = append(c.want, float64(float32(value)))
		}
	}
	c.bound = make([]float64, len(c.want))
	return c
}

// Embedding lookup.
func registerEmbedding(subject func() *target.Target) {
	Describe("embedding lookup", requirement.Claim("kernel.embedding"), func() {
		It("gives the exact rows of every weight type", SpecTimeout(specTimeout), func(SpecContext) {
			skipOtherCases("embedding")
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				worst := newTally("embedding", backend.Name)
				for _, f := range offered(context, backend) {
					for i, size := range []struct{ width, vocab int }{{1, 1}, {1, 7}, {3, 31}, {33, 32}, {64, 97}} {
						width := size.width
						if f.quantised() {
							width = (1 + i%3) * f.block()
						}
						last := int32(size.vocab - 1)
						for _, ids := range [][]int32{{0}, {last}, {last, 0, last, last / 2, 0, 0, last}} {
							c := embeddingCheck(f, width, size.vocab, ids, uint64(i+1))
							if wanted(c.name) {
								c.run(context, worst)
							}
						}
					}
				}
				worst.record()
			})
		})

		It("refuses an id out of range", SpecTimeout(specTimeout), func(SpecContext) {
			onEachBackend(subject, func(context native.Context, backend library.Backend) {
				const width, vocab = 32, 5
				f := formatNamed("f32")
				table := f.random(newRandom(1), width, vocab)
				for _, ids := range [][]int32{{vocab}, {-1}, {0, 1, vocab}, {-2147483648}, {2147483647}} {
					op := embeddingOp(f, table, width, vocab, ids)
					output := newGuarded(width * len(ids))
					op.Outputs[0].Data = output.data
					Expect(context.RunOp(op)).To(matchers.HaveStatus(native.StatusInvalidArgument), "ids %v on %s", ids, backend.Name)
					Expect(output.damage()).To(BeEmpty(), "ids %v on %s", ids, backend.Name)
				}
				evidence.Observe("ids out of range refused on "+backend.Name, 5, "")
			})
		})
	})
}
