package kvcache

import (
	"errors"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// Growth.
func registerGrowth(subject func() *target.Target) {
	Describe("KV cache growth", requirement.Claim("kv.growth"), func() {
		It("gives the same bits at every length across block boundaries", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			tokens := tiny.Tokens(2*tiny.KVBlock+6, 1)
			whole := tiny.Fresh(model, tokens)
			for length := 1; length <= len(tokens); length++ {
				Expect(tiny.Fresh(model, tokens[:length])).To(matchers.HaveSameBits(whole[:length*tiny.Vocab]), "length %d", length)
			}
			evidence.Observe("lengths", len(tokens), "")
			evidence.LogitsHash("longest", tiny.Hash(whole))
		})

		It("gives the same bits for a prefill cut at every place", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			tokens := tiny.Tokens(2*tiny.KVBlock+3, 2)
			whole := tiny.Fresh(model, tokens)
			for cut := 1; cut < len(tokens); cut++ {
				session := tiny.Session(model)
				got := append([]float32(nil), tiny.Evaluate(model, session, tokens[:cut])...)
				got = append(got, tiny.Evaluate(model, session, tokens[cut:])...)
				Expect(got).To(matchers.HaveSameBits(whole), "cut at %d", cut)
				Expect(session.Close()).To(Succeed())
			}
			for _, chunk := range []int{2, 3, 7, 31, 32, 33} {
				session := tiny.Session(model)
				var got []float32
				for at := 0; at < len(tokens); at += chunk {
					got = append(got, tiny.Evaluate(model, session, tokens[at:min(at+chunk, len(tokens))])...)
				}
				Expect(got).To(matchers.HaveSameBits(whole), "chunks of %d", chunk)
				Expect(session.Close()).To(Succeed())
			}
			evidence.Observe("cuts", len(tokens)-1, "")
		})

		It("decodes across every block boundary up to the end of the context", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			tokens := tiny.Tokens(tiny.ContextLength, 3)
			whole := tiny.Fresh(model, tokens)
			Expect(tiny.OneByOne(model, tiny.Session(model), tokens)).To(matchers.HaveSameBits(whole))
			evidence.LogitsHash("full context", tiny.Hash(whole))
		})

		It("ends an exhausted context with its reason, never by overwriting", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			tokens := tiny.Tokens(tiny.ContextLength, 3)
			whole := tiny.Fresh(model, tokens)
			session := tiny.Session(model)
			tiny.Evaluate(model, session, tokens[:tiny.ContextLength-1])

			two := []native.StepItem{{Session: session, Tokens: []int32{1, 2}, Want: native.LogitsLast}}
			Expect(errors.Join(model.Step(two), two[0].Err)).To(matchers.HaveStatus(native.StatusContextLengthExceeded), "two more than one that fits")
			expectLength(session, tiny.ContextLength-1)
			Expect(tiny.Evaluate(model, session, tokens[tiny.ContextLength-1:])).To(matchers.HaveSameBits(tiny.Row(whole, tiny.ContextLength-1)), "the last position")

			const attempts = 3
			for range attempts {
				one := []native.StepItem{{Session: session, Tokens: []int32{1}, Want: native.LogitsLast, Sampling: tiny.Greedy()}}
				Expect(errors.Join(model.Step(one), one[0].Err)).To(matchers.HaveStatus(native.StatusContextLengthExceeded))
				Expect(one[0].Token).To(Equal(int32(-1)), "no token may come out of a failed step")
				expectLength(session, tiny.ContextLength)
			}
			Expect(session.Truncate(tiny.ContextLength - 1)).To(Succeed())
			Expect(tiny.Evaluate(model, session, tokens[tiny.ContextLength-1:])).To(matchers.HaveSameBits(tiny.Row(whole, tiny.ContextLength-1)), "nothing was overwritten")
			evidence.Observe("steps refused at the end of the context", attempts+1, "")
		})

		It("keeps to a session's own limit", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			const limit = 40
			session, err := model.NewSession(native.SessionOptions{MaxLength: limit})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(session.Close)
			tiny.Evaluate(model, session, tiny.Tokens(limit, 1))
			items := []native.StepItem{{Session: session, Tokens: []int32{1}}}
			Expect(errors.Join(model.Step(items), items[0].Err)).To(matchers.HaveStatus(native.StatusContextLengthExceeded))
			expectLength(session, limit)
			evidence.Observe("limit of a session", limit, "tokens")
		})
	})
}

func expectLength(session native.Session, want int) {
	GinkgoHelper()
	state, err := session.State()
	Expect(err).NotTo(HaveOccurred())
	Expect(state.Length).To(Equal(want))
}

// expectBytes expects an out-of-memory error to tell what was needed and what there was.
func expectBytes(err error, limit uint64) {
	GinkgoHelper()
	var failure *native.Error
	Expect(errors.As(err, &failure)).To(BeTrue())
	Expect(failure.Required).To(BeNumerically(">", failure.Available))
	Expect(failure.Available).To(BeNumerically("<=", limit))
	evidence.Observe("required and available", []uint64{failure.Required, failure.Available}, "bytes")
}
