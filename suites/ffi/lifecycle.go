package ffi

import (
	"errors"
	"slices"
	"sync/atomic"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// Context, model, session life cycle.
func registerLifeCycle(subject func() *target.Target) {
	Describe("the life cycle", requirement.Claim("abi.life-cycle"), func() {
		It("enumerates devices and opens a context on each", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			library, err := subject().Library()
			Expect(err).NotTo(HaveOccurred())
			devices, err := library.Devices()
			Expect(err).NotTo(HaveOccurred())
			Expect(devices).NotTo(BeEmpty())
			for index, device := range devices {
				Expect(device.Name).NotTo(BeEmpty())
				Expect(device.MemoryTotal).To(BeNumerically(">", 0))
				context, err := library.NewContext(index, native.ContextOptions{})
				Expect(err).NotTo(HaveOccurred(), "device %d, %s", index, device.Name)
				DeferCleanup(context.Close)
				opened, err := context.Device()
				Expect(err).NotTo(HaveOccurred())
				Expect(opened.Kind).To(Equal(device.Kind))
				Expect(opened.Ordinal).To(Equal(device.Ordinal))
				Expect(opened.Name).To(Equal(device.Name))
			}
			evidence.Observe("devices", devices, "")
		})

		It("loads a model step by step with monotone progress", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			const budget = 1024
			description := tiny.Description(tiny.Options{})
			var bytes, widest uint64
			for _, tensor := range description.Tensors {
				bytes += uint64(len(tensor.Data))
				rows := uint64(1)
				if len(tensor.Shape) > 1 {
					rows = tensor.Shape[1]
				}
				widest = max(widest, uint64(len(tensor.Data))/rows)
			}
			context := tiny.OpenContext(subject(), tiny.Options{})
			loading, err := context.BeginModel(description)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(loading.Close)
			_, err = loading.Finish()
			Expect(err).To(matchers.HaveStatus(native.StatusInvalidArgument), "finish before the end")
			var progress []uint64
			done, total := uint64(0), uint64(1)
			for previous := uint64(0); done < total; previous = done {
				done, total, err = loading.Step(budget)
				Expect(err).NotTo(HaveOccurred())
				Expect(total).To(Equal(bytes), "total is the size of all tensors")
				Expect(done).To(BeNumerically(">", previous), "progress stalls")
				// A backend may take rows in groups of its layout, at most 64 of them.
				Expect(done-previous).To(BeNumerically("<=", budget+64*widest), "progress jumps")
				progress = append(progress, done)
			}
			Expect(done).To(Equal(total))
			model, err := loading.Finish()
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(model.Close)
			evidence.Observe("steps of the load", len(progress), "")
			Expect(len(progress)).To(BeNumerically(">", 8), "the load came in too few steps to call it progress")
			tiny.Fresh(&tiny.Model{Model: model, Device: context}, []int32{1, 2, 3})
		})

		It("refuses a second model and returns all memory of the first", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			context := tiny.OpenContext(subject(), tiny.Options{})
			before := ledger(context)
			var hashes []string
			for range 3 {
				model, err := tiny.TryLoad(context, tiny.Description(tiny.Options{}))
				Expect(err).NotTo(HaveOccurred())
				loaded := ledger(context)
				Expect(loaded[1]).To(BeNumerically(">", before[1]))
				_, err = context.BeginModel(tiny.Description(tiny.Options{}))
				Expect(err).To(matchers.HaveStatus(native.StatusBusy))
				Expect(ledger(context)).To(Equal(loaded), "a refused model takes nothing")
				hashes = append(hashes, tiny.Hash(tiny.Fresh(&tiny.Model{Model: model, Device: context}, tiny.Tokens(40, 1))))
				Expect(model.Close()).To(Succeed())
				Expect(ledger(context)).To(Equal(before), "blocks and bytes after unloading")
			}
			Expect(slices.Compact(hashes)).To(HaveLen(1), "every load gives the same logits")
			evidence.LogitsHash("after each of three loads", hashes[0])
		})

		It("gives up a load in the middle without a trace", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			context := tiny.OpenContext(subject(), tiny.Options{})
			before := ledger(context)
			loading, err := context.BeginModel(tiny.Description(tiny.Options{}))
			Expect(err).NotTo(HaveOccurred())
			_, _, err = loading.Step(512)
			Expect(err).NotTo(HaveOccurred())
			Expect(loading.Close()).To(Succeed())
			Expect(ledger(context)).To(Equal(before))
			tiny.LoadInto(context, tiny.Description(tiny.Options{}))
			evidence.Observe("ledger after giving up", before[1], "bytes")
		})

		It("prefills, steps, samples, truncates and cancels", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			session := tiny.Session(model)
			items := []native.StepItem{{Session: session, Tokens: tiny.Tokens(9, 1), Want: native.LogitsLast, Sampling: tiny.Greedy()}}
			Expect(model.Step(items)).To(Succeed())
			Expect(items[0].Err).NotTo(HaveOccurred())
			Expect(items[0].Logits).To(HaveLen(tiny.Vocab))
			Expect(items[0].Token).To(Equal(largest(items[0].Logits)), "greedy takes the largest logit, the lowest id among equals")
			Expect(items[0].Logprob).To(BeNumerically("<=", 0))
			Expect(session.Truncate(4)).To(Succeed())
			tiny.Evaluate(model, session, []int32{2})

			other := tiny.Session(model)
			Expect(session.Cancel()).To(Succeed())
			both := []native.StepItem{{Session: session, Tokens: []int32{1}}, {Session: other, Tokens: []int32{1}, Want: native.LogitsLast}}
			Expect(model.Step(both)).To(Succeed())
			Expect(both[0].Err).To(matchers.HaveStatus(native.StatusCancelled))
			Expect(both[1].Err).NotTo(HaveOccurred(), "the other session of the step goes on")
			state, err := session.State()
			Expect(err).NotTo(HaveOccurred())
			Expect(state.Cancelled).To(BeTrue())
			Expect(state.Length).To(Equal(5), "a cancelled step leaves the session as it was")
			evidence.Observe("greedy token", items[0].Token, "")
		})

		It("cancels a step that runs", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			session := tiny.Session(model)
			var running atomic.Bool
			cancelled := make(chan error, 1)
			go func() {
				for !running.Load() {
					if ctx.Err() != nil {
						break
					}
				}
				cancelled <- session.Cancel()
			}()
			steps := 0
			var failure error
			for steps < 5000 && ctx.Err() == nil && failure == nil {
				running.Store(true)
				items := []native.StepItem{{Session: session, Tokens: tiny.Tokens(60, 1)}}
				if failure = errors.Join(model.Step(items), items[0].Err); failure == nil {
					failure = session.Truncate(0)
				}
				steps++
			}
			Expect(<-cancelled).To(Succeed())
			Expect(failure).To(matchers.HaveStatus(native.StatusCancelled))
			evidence.Observe("steps until the cancel from another goroutine was seen", steps, "")
		})
	})
}

func largest(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}
