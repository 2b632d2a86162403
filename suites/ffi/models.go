package ffi

import (
	"fmt"
	"os"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/expectation"
	"touchstone/suites/internal/shadow"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/target"
)

const (
	modelsDrawn, slowModelsDrawn = 24, 3
	modelKind                    = "model"
)

// registerModels adds what the life cycle says of models that nobody has seen: every field of a description and every tensor counts.
func registerModels(subject func() *target.Target) {
	Describe("models", requirement.Claim("abi.life-cycle"), func() {
		It("compute as the reference library does, whatever their shape", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			backend, err := subject().Main()
			Expect(err).NotTo(HaveOccurred())
			seed, from, count := drawnModels(backend)
			for index := from; index < from+count; index++ {
				r := expectation.Random(seed, index)
				shape := shadow.AnyShape(r)
				context := tiny.OpenContext(subject(), tiny.Options{Backend: &backend})
				pair, err := shadow.Load(context, shape.Describe(seed+uint64(index)))
				name := expectation.Name(modelKind, seed, index)
				Expect(err).NotTo(HaveOccurred(), "%s: %+v", name, shape)
				for range 1 + r.IntN(3) {
					session, err := pair.Open()
					Expect(err).NotTo(HaveOccurred(), name)
					prompt := make([]int32, 1+r.IntN(shape.Context-8))
					for i := range prompt {
						prompt[i] = int32(r.IntN(shape.Vocab))
					}
					prompt[0] = int32(shape.Vocab - 1) // the last row of the table
					ask := shadow.Ask{Session: session, Tokens: prompt, Want: native.LogitsAll, Sampling: expectation.Sampling(r, shape.Vocab)}
					for range 6 {
						shadow.Agree(pair.Step([]shadow.Ask{ask}), fmt.Sprintf("%s, a model of the shape %+v", backend.Name, shape), name)
						ask.Tokens, ask.Sampling = []int32{session.Next}, expectation.Sampling(r, shape.Vocab)
					}
				}
				Expect(pair.Close()).To(Succeed(), name)
				Expect(context.Close()).To(Succeed(), name)
			}
			evidence.Observe(fmt.Sprintf("models computed as the reference does on %s, run seed %d", backend.Name, seed), count, "")
		})
	})
}

// drawnModels says which models to draw: the one that GATE_CASE names, or the run's.
func drawnModels(backend library.Backend) (seed uint64, from, count int) {
	GinkgoHelper()
	if name := os.Getenv("GATE_CASE"); name != "" {
		seed, index, ours := expectation.ParseName(modelKind, name)
		if !ours {
			Skip("GATE_CASE names a case of another spec")
		}
		return seed, index, 1
	}
	seed, err := expectation.RunSeed()
	Expect(err).NotTo(HaveOccurred())
	if backend.Slow {
		return seed, 0, slowModelsDrawn
	}
	return seed, 0, modelsDrawn
}
