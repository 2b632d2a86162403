// Package determinism holds the specs of reproducibility: the same request gives the same bytes, whatever goes on around it.
package determinism

import (
	"fmt"
	"math"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/native/gguf"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/expectation"
	"touchstone/suites/goldens"
	"touchstone/suites/internal/modelfile"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/soak"
	"touchstone/suites/target"
)

const (
	specTimeout = 90 * time.Second
	// runs are those of the soak's plan with the run's seed.
	runs = 100
)

// RegisterRuns adds the spec of a hundred runs over the subject's interface to the container that calls it.
func RegisterRuns(subject func() *target.Target) {
	Describe("a hundred runs", requirement.Claim("determinism.runs"), func() {
		It("gives the same tokens and logits in 100 runs, and others with another seed", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			seed, err := expectation.RunSeed()
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("seed of the requests", fmt.Sprint(seed), "")
			report, _, err := soak.Repeat(ctx, subject(), soak.NewPlan(seed, subject()), runs)
			if err != nil {
				Fail("a request was not answered\nexpected: an answer to every request of the plan\ngot: " + err.Error())
			}
			if len(report.Divergences) > 0 {
				Fail("the first divergence: " + report.Divergences[0].String())
			}
			Expect(report.Failures).To(BeEmpty(), "runs without an answer")
			Expect(report.Problems).To(BeEmpty(), "what the soak cannot vouch for, the control of another seed among it")
			Expect(report.Runs).To(Equal(runs))
			Expect(report.Verdict).To(Equal("PASS"), report.Line)
			evidence.Observe("soak", report.Line, "")
			evidence.Observe("outputs compared", report.Outputs, "")
			distinct := 0
			for _, row := range report.Requests {
				distinct = max(distinct, row.Distinct)
			}
			evidence.Observe("most distinct outputs of a request", distinct, "")
			evidence.Observe("factors varied", report.Factors, "")
			evidence.Observe("control: other seeds", report.Controls, "")
		})
	})
}

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	Describe("reproducibility", func() {
		RegisterRuns(subject)

		Describe("the library", requirement.Claim("determinism.library"), func() {
			It("gives the same logits in the library, whatever the threads, chunks, batch and instruction set", SpecTimeout(specTimeout), func(SpecContext) {
				subject().Require(target.Native)
				backends, err := subject().Backends()
				Expect(err).NotTo(HaveOccurred())
				text := tiny.Tokens(70, 1)
				var first []float32
				var names []string
				for _, backend := range backends {
					for _, threads := range []int{1, 3} {
						model := tiny.Load(subject(), tiny.Options{Backend: &backend, Context: native.ContextOptions{Threads: threads}})
						whole := tiny.Fresh(model, text)
						if first == nil {
							first = whole
						}
						Expect(whole).To(matchers.HaveSameBits(first), "%s with %d threads", backend.Name, threads)
						if !backend.Slow {
							Expect(tiny.OneByOne(model, tiny.Session(model), text)).To(matchers.HaveSameBits(first), "%s, one by one", backend.Name)
						}
					}
					names = append(names, backend.Name)
				}
				evidence.Observe("backends", names, "")
				evidence.LogitsHash("70 tokens on every backend", tiny.Hash(first))
			})
		})

		Describe("the negative control", requirement.Claim("determinism.control"), func() {
			It("sees one changed bit of one weight", SpecTimeout(specTimeout), func(SpecContext) {
				subject().Require(target.Native)
				text := tiny.Tokens(20, 1)
				clean := tiny.Fresh(tiny.Load(subject(), tiny.Options{}), text)
				description := tiny.Description(tiny.Options{})
				description.Tensors[1].Data[0] ^= 1 // output_norm.weight: the last bit of its first element
				changed := tiny.Fresh(tiny.LoadInto(tiny.OpenContext(subject(), tiny.Options{}), description), text)
				Expect(changed).NotTo(matchers.HaveSameBits(clean), "the negative control")
				evidence.LogitsHash("with one bit changed", tiny.Hash(changed))
			})
		})

		Describe("the oracle", requirement.Claim("determinism.oracle"), func() {
			It("agrees with the oracle in the logits of the bundled model", SpecTimeout(specTimeout), func(SpecContext) {
				subject().Require(target.Native)
				goldens := subject().Goldens()
				file, err := gguf.Open(subject().Profile.Model)
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(file.Close)
				description, err := modelfile.Describe(file)
				Expect(err).NotTo(HaveOccurred())
				model := tiny.LoadInto(tiny.OpenContext(subject(), tiny.Options{}), description)
				worst, compared := 0.0, 0
				for _, golden := range goldens.Prompts {
					fraction, values := compareGolden(model, golden)
					worst, compared = max(worst, fraction), compared+values
				}
				evidence.KernelError("whole model", "f16", "main device", compared, worst, goldens.Model)
			})
		})

		registerFormats(subject)
		registerFactors(subject)
	})
}

// goldenBound is what a logit may differ from the oracle's, in every weight format. Both compute in float32 over 4 blocks with
// some 30 roundings deep in each chain; keys and values are kept in binary16 here (relative 2^-11 each) and in float32
// there, which dominates: 2^-11 of the size of a logit vector's entries, times 4 for the blocks it passes through. Quantised
// weights meet activations of 16 bits per 32 values, whose step is some 2.2 / 32512 of their root mean square: 2^-14, an
// eighth of that.
const goldenBound = 0x1p-9

// compareGolden evaluates a prompt with its continuation and returns the worst difference as a fraction of its bound, which
// is goldenBound times the root mean square of the position's logits.
func compareGolden(model *tiny.Model, golden goldens.Golden) (worst float64, compared int) {
	GinkgoHelper()
	session := tiny.Session(model)
	text := slices.Concat(golden.PromptIDs, golden.GreedyIDs)
	items := []native.StepItem{{Session: session, Tokens: text[:len(text)-1], Want: native.LogitsAll}}
	Expect(model.Step(items)).To(Succeed())
	Expect(items[0].Err).NotTo(HaveOccurred())
	vocab := len(items[0].Logits) / len(items[0].Tokens)
	for i, want := range golden.GreedyIDs {
		position := len(golden.PromptIDs) - 1 + i
		row := items[0].Logits[position*vocab:][:vocab]
		Expect(argmax(row)).To(Equal(want), "%s: the greedy token after position %d", golden.Name, position)
	}
	for _, position := range golden.Positions {
		row := items[0].Logits[position.Position*vocab:][:vocab]
		bound := goldenBound * position.Norm / math.Sqrt(float64(vocab))
		check := matchers.Bounded{Case: fmt.Sprintf("%s position %d", golden.Name, position.Position)}
		logits, err := position.Logits()
		Expect(err).NotTo(HaveOccurred())
		for id, logit := range logits {
			check.Got, check.Want, check.Bound = append(check.Got, row[id]), append(check.Want, float64(logit)), append(check.Bound, bound)
		}
		for _, top := range position.Top {
			check.Got, check.Want, check.Bound = append(check.Got, row[top.ID]), append(check.Want, top.Logit), append(check.Bound, bound)
		}
		Expect(check).To(matchers.BeWithinBound())
		fraction, _ := check.Worst()
		worst, compared = max(worst, fraction), compared+len(check.Want)
	}
	Expect(session.Close()).To(Succeed())
	return worst, compared
}

func argmax(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return int32(best)
}
