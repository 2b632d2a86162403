package cuda

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// Device memory RAII.
func registerOwnership(subject func() *target.Target) {
	Describe("device memory", requirement.Claim("cuda.memory"), func() {
		It("is aligned to 256 bytes", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device library.Backend) {
				context := open(device, native.ContextOptions{})
				loadAndStep(context)
				blocks, err := context.Blocks()
				Expect(err).NotTo(HaveOccurred())
				for _, block := range blocks {
					Expect(block.Address%alignment).To(BeZero(), "address 0x%x of %q", block.Address, block.Label)
				}
				evidence.Observe("aligned blocks on "+device.Name, len(blocks), "")
			})
		})

		It("ends storms of loads where it began", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device library.Backend) {
				context := open(device, native.ContextOptions{})
				const rounds = 25
				for round := range rounds {
					model, err := tiny.TryLoad(context, tiny.Description(tiny.Options{KVBlocks: 1 + round%7}))
					Expect(err).NotTo(HaveOccurred())
					Expect(model.Close()).To(Succeed())
					expectEmpty(context, "after round %d", round)
				}
				evidence.Observe("loads and unloads on "+device.Name, rounds, "")
			})
		})

		It("leaves nothing behind when the n-th allocation fails, for every n of a load", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device library.Backend) {
				whole := open(device, native.ContextOptions{})
				loadAndStep(whole)
				memory, err := whole.Memory()
				Expect(err).NotTo(HaveOccurred())
				Expect(memory.Allocations).To(BeNumerically(">", 10), "allocations of a load")
				failed := 0
				for n := uint64(1); n <= memory.Allocations; n++ {
					context := open(device, native.ContextOptions{FailAllocation: n})
					model, err := tiny.TryLoad(context, tiny.Description(tiny.Options{KVBlocks: 4}))
					if err == nil { // it falls on a buffer of the forward pass, which comes later
						Expect(model.Close()).To(Succeed())
						expectEmpty(context, "after a load of fewer than %d allocations", n)
						Expect(context.Close()).To(Succeed())
						continue
					}
					failed++
					Expect(err).To(matchers.HaveStatus(native.StatusOutOfMemory), "allocation %d", n)
					expectEmpty(context, "after allocation %d failed", n)
					// The same context loads the model once its failure is spent.
					again, err := tiny.TryLoad(context, tiny.Description(tiny.Options{KVBlocks: 4}))
					Expect(err).NotTo(HaveOccurred(), "after allocation %d failed", n)
					Expect(again.Close()).To(Succeed())
					Expect(context.Close()).To(Succeed())
				}
				Expect(failed).To(BeNumerically(">", 10), "loads that failed")
				evidence.Observe("loads that failed and left nothing on "+device.Name, failed, "")
			})
		})

		It("is not lost by a step that runs out of it", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device library.Backend) {
				context := open(device, native.ContextOptions{})
				model := tiny.LoadInto(context, tiny.Description(tiny.Options{KVBlocks: 2}))
				session := tiny.Session(model)
				tiny.Evaluate(model, session, tiny.Tokens(60, 1))
				before, err := context.Memory()
				Expect(err).NotTo(HaveOccurred())
				items := []native.StepItem{{Session: session, Tokens: tiny.Tokens(20, 2)}}
				Expect(model.Step(items)).To(Succeed())
				Expect(items[0].Err).To(matchers.HaveStatus(native.StatusOutOfMemory))
				after, err := context.Memory()
				Expect(err).NotTo(HaveOccurred())
				Expect(after.Total()).To(Equal(before.Total()))
				Expect(after.Blocks).To(Equal(before.Blocks))
				evidence.Observe("bytes before and after on "+device.Name, []uint64{before.Total(), after.Total()}, "bytes")
			})
		})
	})
}
