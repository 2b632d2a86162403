package kvcache

import (
	"errors"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// Management.
func registerManagement(subject func() *target.Target) {
	Describe("KV cache management", requirement.Claim("kv.management"), func() {
		It("gives the same bits step by step as in one prefill", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			tokens := tiny.Tokens(75, 1)
			whole := tiny.Fresh(model, tokens)
			Expect(tiny.OneByOne(model, tiny.Session(model), tokens)).To(matchers.HaveSameBits(whole))
			evidence.LogitsHash("75 tokens", tiny.Hash(whole))
		})

		It("keeps two interleaved sessions apart", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			one, two := tiny.Tokens(66, 1), tiny.Tokens(66, 2)
			aloneOne, aloneTwo := tiny.Fresh(model, one), tiny.Fresh(model, two)

			first, second := tiny.Session(model), tiny.Session(model)
			var gotOne, gotTwo []float32
			for i := range one { // one step a session, in turn
				gotOne = append(gotOne, tiny.Evaluate(model, first, one[i:i+1])...)
				gotTwo = append(gotTwo, tiny.Evaluate(model, second, two[i:i+1])...)
			}
			Expect(gotOne).To(matchers.HaveSameBits(aloneOne), "the first, in turn with the second")
			Expect(gotTwo).To(matchers.HaveSameBits(aloneTwo), "the second, in turn with the first")

			first, second = tiny.Session(model), tiny.Session(model)
			gotOne, gotTwo = nil, nil
			for i := 0; i < len(one); i += 3 { // both in one step, with parts of different length
				items := []native.StepItem{
					{Session: first, Tokens: one[i : i+3], Want: native.LogitsAll},
					{Session: second, Tokens: two[i : i+3], Want: native.LogitsAll},
				}
				Expect(model.Step(items)).To(Succeed())
				Expect(errors.Join(items[0].Err, items[1].Err)).NotTo(HaveOccurred())
				gotOne, gotTwo = append(gotOne, items[0].Logits...), append(gotTwo, items[1].Logits...)
			}
			Expect(gotOne).To(matchers.HaveSameBits(aloneOne), "the first, in a batch with the second")
			Expect(gotTwo).To(matchers.HaveSameBits(aloneTwo), "the second, in a batch with the first")
			evidence.LogitsHash("first session", tiny.Hash(aloneOne))
			evidence.LogitsHash("second session", tiny.Hash(aloneTwo))
		})

		It("forgets what is truncated", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			tokens, detour := tiny.Tokens(80, 1), tiny.Tokens(50, 9)
			straight := tiny.Fresh(model, tokens)
			lengths := []int{0, 1, 5, 31, 32, 33, 63, 64, 65, 79}
			for _, length := range lengths {
				session := tiny.Session(model)
				if length > 0 {
					tiny.Evaluate(model, session, tokens[:length])
				}
				tiny.Evaluate(model, session, detour)
				Expect(session.Truncate(length)).To(Succeed())
				state, err := session.State()
				Expect(err).NotTo(HaveOccurred())
				Expect(state.Length).To(Equal(length))
				Expect(state.Blocks).To(Equal((length+tiny.KVBlock-1)/tiny.KVBlock), "blocks after truncation to %d", length)
				rest := tiny.Evaluate(model, session, tokens[length:])
				Expect(rest).To(matchers.HaveSameBits(straight[length*tiny.Vocab:]), "after a detour from position %d", length)
				Expect(session.Truncate(len(tokens)+1)).To(matchers.HaveStatus(native.StatusInvalidArgument), "longer than it is")
				Expect(session.Close()).To(Succeed())
			}
			evidence.Observe("truncation points", lengths, "")
		})

		It("uses freed blocks again", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{KVBlocks: 3})
			tiny.Fresh(model, tiny.Tokens(90, 99)) // buffers of the forward pass come with the first step
			before, err := model.Device.Memory()
			Expect(err).NotTo(HaveOccurred())
			const rounds = 50
			for round := range rounds {
				tiny.Fresh(model, tiny.Tokens(90, uint64(round)))
				Expect(tiny.FreeBlocks(model)).To(Equal(3), "round %d", round)
			}
			after, err := model.Device.Memory()
			Expect(err).NotTo(HaveOccurred())
			Expect(after.Total()).To(Equal(before.Total()))
			evidence.Observe("rounds through the same 3 blocks", rounds, "")
		})

		It("shares a prefix without a difference, and without a copy of whole blocks", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			prefix, one, two := tiny.Tokens(70, 1), tiny.Tokens(40, 2), tiny.Tokens(40, 3)
			wantOne := tiny.Fresh(model, slices.Concat(prefix, one))[len(prefix)*tiny.Vocab:]
			for _, length := range []int{0, 1, 32, 45, 64, 70} {
				parent := tiny.Session(model)
				tiny.Evaluate(model, parent, prefix)
				free := tiny.FreeBlocks(model)
				child, err := parent.Fork(length)
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(child.Close)
				state, err := child.State()
				Expect(err).NotTo(HaveOccurred())
				Expect(state.Length).To(Equal(length))
				Expect(state.SharedBlocks).To(Equal(length/tiny.KVBlock), "whole blocks shared by a fork at %d", length)
				Expect(free-tiny.FreeBlocks(model)).To(BeNumerically("<=", 1), "a fork copies a part block at most")

				// The child goes its own way first; neither may see the other.
				wantTwo := tiny.Fresh(model, slices.Concat(prefix[:length], two))[length*tiny.Vocab:]
				Expect(tiny.Evaluate(model, child, two)).To(matchers.HaveSameBits(wantTwo), "the fork at %d", length)
				Expect(tiny.Evaluate(model, parent, one)).To(matchers.HaveSameBits(wantOne), "the parent after a fork at %d", length)
				Expect(parent.Close()).To(Succeed())
				again, err := child.State()
				Expect(err).NotTo(HaveOccurred())
				Expect(again.SharedBlocks).To(BeZero(), "nothing is shared once the parent is gone")
				Expect(child.Close()).To(Succeed())
			}
			evidence.LogitsHash("after the prefix", tiny.Hash(wantOne))
		})
	})
}
