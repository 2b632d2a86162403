package kvcache

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// Allocation.
func registerAllocation(subject func() *target.Target) {
	Describe("KV cache allocation", requirement.Claim("kv.allocation"), func() {
		It("takes the bytes of the documented formula", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			const blocks = 7
			model := tiny.Load(subject(), tiny.Options{KVBlocks: blocks})
			info, err := model.Info()
			Expect(err).NotTo(HaveOccurred())
			memory, err := model.Device.Memory()
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("bytes of a KV block", info.KVBlockBytes, "bytes")
			evidence.Observe("KV bytes in the ledger", memory.KV, "bytes")
			Expect(info.KVBlockBytes).To(Equal(uint64(tiny.KVBlockBytes)), "2 * block_count * head_count_kv * head_dim * 32 * 2")
			Expect(info.KVBlocksTotal).To(Equal(blocks))
			Expect(info.KVBlocksFree).To(Equal(blocks))
			Expect(memory.KV).To(BeNumerically(">=", blocks*tiny.KVBlockBytes))
			Expect(memory.KV).To(BeNumerically("<", (blocks+1)*tiny.KVBlockBytes), "no more than the pool and its rounding")
		})

		It("holds a block for every 32 positions begun", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			total := tiny.FreeBlocks(model)
			session := tiny.Session(model)
			tokens := tiny.Tokens(100, 1)
			for i := range tokens {
				tiny.Evaluate(model, session, tokens[i:i+1])
				state, err := session.State()
				Expect(err).NotTo(HaveOccurred())
				want := (i + tiny.KVBlock) / tiny.KVBlock
				Expect(state.Length).To(Equal(i + 1))
				Expect(state.Blocks).To(Equal(want), "after %d positions", i+1)
				Expect(tiny.FreeBlocks(model)).To(Equal(total-want), "after %d positions", i+1)
			}
			evidence.Observe("positions followed", len(tokens), "")
		})

		It("never shows what a block held before", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			tokens := tiny.Tokens(70, 2)
			clean := tiny.Fresh(tiny.Load(subject(), tiny.Options{}), tokens)
			evidence.LogitsHash("fresh memory", tiny.Hash(clean))

			poisoned := tiny.Load(subject(), tiny.Options{Context: native.ContextOptions{PoisonMemory: true}})
			Expect(tiny.Fresh(poisoned, tokens)).To(matchers.HaveSameBits(clean), "with poisoned memory")

			used := tiny.Load(subject(), tiny.Options{KVBlocks: 4})
			for seed := range uint64(6) {
				tiny.Fresh(used, tiny.Tokens(128, 100+seed))
				Expect(tiny.Fresh(used, tokens)).To(matchers.HaveSameBits(clean), "in blocks that others used before, round %d", seed)
			}
		})

		It("runs out of memory without a trace, and serves on", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			const blocks = 3
			model := tiny.Load(subject(), tiny.Options{KVBlocks: blocks})
			first, second := tiny.Session(model), tiny.Session(model)
			tokens := tiny.Tokens(96, 4)
			want := tiny.Fresh(model, tokens[:40])
			tiny.Evaluate(model, first, tokens[:40])
			before, err := model.Device.Memory()
			Expect(err).NotTo(HaveOccurred())
			free := tiny.FreeBlocks(model)
			Expect(free).To(Equal(1))

			const attempts = 5
			for range attempts {
				items := []native.StepItem{{Session: second, Tokens: tokens, Want: native.LogitsLast}}
				Expect(model.Step(items)).To(Succeed())
				Expect(items[0].Err).To(matchers.HaveStatus(native.StatusOutOfMemory))
				Expect(tiny.FreeBlocks(model)).To(Equal(free), "blocks free after a failed step")
				state, err := second.State()
				Expect(err).NotTo(HaveOccurred())
				Expect(state.Length).To(BeZero())
				Expect(state.Blocks).To(BeZero())
			}
			after, err := model.Device.Memory()
			Expect(err).NotTo(HaveOccurred())
			Expect(after.Total()).To(Equal(before.Total()), "bytes in the ledger")
			evidence.Observe("failed steps that left nothing", attempts, "")

			Expect(first.Close()).To(Succeed())
			Expect(tiny.Evaluate(model, second, tokens[:40])).To(matchers.HaveSameBits(want), "the next step after running out")
			Expect(second.Close()).To(Succeed())
			Expect(tiny.FreeBlocks(model)).To(Equal(blocks))
		})

		It("refuses a pool that does not fit, with the bytes required and available", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			const limit = 1 << 20
			context := tiny.OpenContext(subject(), tiny.Options{Context: native.ContextOptions{MemoryLimit: limit}})
			_, err := tiny.TryLoad(context, tiny.Description(tiny.Options{KVBlocks: 1000}))
			Expect(err).To(matchers.HaveStatus(native.StatusOutOfMemory))
			expectBytes(err, limit)
			memory, err := context.Memory()
			Expect(err).NotTo(HaveOccurred())
			Expect(memory.Total()).To(BeZero(), "bytes left in the ledger")
			tiny.LoadInto(context, tiny.Description(tiny.Options{KVBlocks: 4}))
			evidence.Observe("limit", limit, "bytes")
		})
	})
}
