package ffi

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// maxGrowth is what the process may keep after a thousand sessions or a hundred models: less than a byte a session leaked
// block by block would be, more than the noise of the Go runtime.
const maxGrowth = 24 << 20

// Bindings own what they hold.
func registerOwnership(subject func() *target.Target) {
	Describe("the bindings", requirement.Claim("binding.ownership"), func() {
		It("end a thousand sessions where they began", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			cycle := func(n int) {
				for range n {
					session, err := model.NewSession(native.SessionOptions{})
					Expect(err).NotTo(HaveOccurred())
					state, err := session.State()
					Expect(err).NotTo(HaveOccurred())
					Expect(state.Length).To(BeZero(), "a new session is empty")
					tiny.Evaluate(model, session, []int32{1, 2, 3})
					Expect(session.Close()).To(Succeed())
				}
			}
			cycle(50) // warm up
			memory, free, resident := ledger(model.Device), tiny.FreeBlocks(model), residentBytes()
			const cycles = 1000
			cycle(cycles)
			Expect(ledger(model.Device)).To(Equal(memory), "the ledger")
			Expect(tiny.FreeBlocks(model)).To(Equal(free), "free KV blocks")
			grown := int64(residentBytes()) - int64(resident)
			evidence.Observe("growth of the process over 1000 sessions", grown, "bytes")
			Expect(grown).To(BeNumerically("<", maxGrowth))
		})

		It("end a hundred contexts and models where they began", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			main, err := subject().Main()
			Expect(err).NotTo(HaveOccurred())
			description := tiny.Description(tiny.Options{})
			cycle := func(n int) {
				for range n {
					context, err := main.Open(native.ContextOptions{Threads: 1})
					Expect(err).NotTo(HaveOccurred())
					model, err := tiny.TryLoad(context, description)
					Expect(err).NotTo(HaveOccurred())
					Expect(model.Close()).To(Succeed())
					Expect(ledger(context)).To(Equal([2]uint64{}), "the ledger once the model is closed")
					Expect(context.Close()).To(Succeed())
				}
			}
			cycle(10)
			resident := residentBytes()
			const cycles = 100
			cycle(cycles)
			grown := int64(residentBytes()) - int64(resident)
			evidence.Observe("growth of the process over 100 models", grown, "bytes")
			Expect(grown).To(BeNumerically("<", maxGrowth))
		})

		It("make a second close harmless and a use after close an error", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			context := tiny.OpenContext(subject(), tiny.Options{})
			model, err := tiny.TryLoad(context, tiny.Description(tiny.Options{}))
			Expect(err).NotTo(HaveOccurred())
			session, err := model.NewSession(native.SessionOptions{})
			Expect(err).NotTo(HaveOccurred())
			tiny.Evaluate(model, session, []int32{1, 2, 3})

			for range 3 {
				Expect(session.Close()).To(Succeed())
			}
			_, stateErr := session.State()
			_, forkErr := session.Fork(0)
			items := []native.StepItem{{Session: session, Tokens: []int32{1}}}
			closed := map[string]error{
				"State": stateErr, "Fork": forkErr, "Truncate": session.Truncate(0), "Cancel": session.Cancel(),
				"Step": errors.Join(model.Step(items), items[0].Err),
			}
			other, err := model.NewSession(native.SessionOptions{})
			Expect(err).NotTo(HaveOccurred())
			state, err := other.State()
			Expect(err).NotTo(HaveOccurred())
			Expect(state.Length).To(BeZero(), "a new session must not be the old one")
			Expect(other.Close()).To(Succeed())

			for range 3 {
				Expect(model.Close()).To(Succeed())
			}
			_, closed["Info"] = model.Info()
			_, closed["NewSession"] = model.NewSession(native.SessionOptions{})
			for range 3 {
				Expect(context.Close()).To(Succeed())
			}
			_, closed["Memory"] = context.Memory()
			_, closed["Blocks"] = context.Blocks()
			_, closed["Device"] = context.Device()
			_, closed["CheckResidency"] = context.CheckResidency()
			_, closed["BeginModel"] = context.BeginModel(tiny.Description(tiny.Options{}))
			closed["RunOp"] = context.RunOp(native.Op{Name: "philox"})
			for method, err := range closed {
				Expect(err).To(MatchError(native.ErrClosed), method)
			}
			evidence.Observe("methods that refuse a closed handle", len(closed), "")
		})

		It("refuse to close a parent before its child", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			session := tiny.Session(model)
			want := slices.Clone(tiny.Evaluate(model, session, []int32{1, 2, 3}))
			Expect(model.Close()).To(matchers.HaveStatus(native.StatusBusy))
			Expect(model.Device.Close()).To(matchers.HaveStatus(native.StatusBusy))
			Expect(session.Truncate(0)).To(Succeed())
			Expect(tiny.Evaluate(model, session, []int32{1, 2, 3})).To(matchers.HaveSameBits(want), "they still work")
			Expect(session.Close()).To(Succeed())
			Expect(model.Close()).To(Succeed())
			Expect(model.Device.Close()).To(Succeed())
			evidence.Observe("parents that refused", 2, "")
		})

		It("serialise or refuse concurrent use", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			model := tiny.Load(subject(), tiny.Options{})
			tokens := tiny.Tokens(20, 1)
			want := tiny.Fresh(model, tokens)
			const workers, rounds = 8, 20
			failures := make([]error, workers)
			busy := make([]int, workers)
			var group sync.WaitGroup
			for worker := range workers {
				group.Go(func() {
					for round := 0; round < rounds && failures[worker] == nil; round++ {
						var refused int
						refused, failures[worker] = evaluateFresh(model, tokens, want)
						busy[worker] += refused
					}
				})
			}
			group.Wait()
			Expect(errors.Join(failures...)).NotTo(HaveOccurred())
			total := 0
			for _, n := range busy {
				total += n
			}
			evidence.Observe("concurrent rounds", workers*rounds, "")
			evidence.Observe("refused with BUSY and repeated", total, "")
			Expect(tiny.Fresh(model, tokens)).To(matchers.HaveSameBits(want))
		})

		It("report a handle that was forgotten", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native)
			forgotten := make(chan string, 16)
			native.OnForgotten(func(kind string) {
				select {
				case forgotten <- kind:
				default:
				}
			})
			DeferCleanup(native.OnForgotten, (func(string))(nil))
			path := build(ctx, "failing.c", "-shared", "-fPIC")
			func() { // a library is the one handle that can be forgotten without keeping others open for ever
				library, err := native.OpenLibrary(path)
				Expect(err).NotTo(HaveOccurred())
				Expect(library.Version()).To(Equal("failing 1.0.0"))
			}()
			Eventually(ctx, func() string {
				runtime.GC()
				select {
				case kind := <-forgotten:
					return kind
				default:
					return ""
				}
			}).Should(Equal("library"))
			evidence.Observe("reported", "library", "")
		})
	})
}

// evaluateFresh evaluates tokens in a session of their own, repeating what is refused with BUSY.
func evaluateFresh(model native.Model, tokens []int32, want []float32) (refused int, err error) {
	repeat := func(call func() error) error {
		for {
			err := call()
			if native.StatusOf(err) != native.StatusBusy {
				return err
			}
			refused++
			runtime.Gosched()
		}
	}
	var session native.Session
	if err := repeat(func() (err error) { session, err = model.NewSession(native.SessionOptions{}); return err }); err != nil {
		return refused, err
	}
	items := []native.StepItem{{Session: session, Tokens: tokens, Want: native.LogitsAll}}
	if err := repeat(func() error { return errors.Join(model.Step(items), items[0].Err) }); err != nil {
		return refused, err
	}
	if !slices.Equal(items[0].Logits, want) {
		return refused, errors.New("the logits of a concurrent session differ")
	}
	return refused, repeat(session.Close)
}

// ledger is the number of live blocks and bytes of a context; both ways to ask must agree.
func ledger(context native.Context) [2]uint64 {
	GinkgoHelper()
	memory, err := context.Memory()
	Expect(err).NotTo(HaveOccurred())
	blocks, err := context.Blocks()
	Expect(err).NotTo(HaveOccurred())
	Expect(memory.Blocks).To(Equal(len(blocks)), "the ledger counts what it lists")
	return [2]uint64{uint64(memory.Blocks), memory.Total()}
}

// residentBytes is the resident memory of this process after a collection, from /proc; 0 where there is none.
func residentBytes() uint64 {
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
