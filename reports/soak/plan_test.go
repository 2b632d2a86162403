package soak_test

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/soak"
	"touchstone/reports/soak/soaktest"
)

var _ = Describe("a plan", func() {
	It("draws a run from the master seed and the index alone", func() {
		plan, again, other := soaktest.Plan(7), soaktest.Plan(7), soaktest.Plan(8)
		same := 0
		for i := range 200 {
			Expect(plan.Draw(199 - i)).To(Equal(again.Draw(199 - i)))
			if fmt.Sprint(plan.Draw(i)) == fmt.Sprint(other.Draw(i)) {
				same++
			}
		}
		Expect(same).To(BeNumerically("<", 20), "another master seed draws other runs")
	})

	It("draws the same runs in every version", func() {
		// Computed with Python's hashlib over seed, index and counter (three little-endian uint64), not by this code.
		plan := soaktest.Plan(7)
		Expect(plan.Draw(0)).To(Equal(soak.Run{Index: 0, Request: 2, Company: []int{3, 1, 3}, Levels: map[string]string{
			soak.Route: "native", "process": "running", "threads": "4", soak.Company: "3", "cache": "warm", "chunking": "7",
		}}))
	})

	It("draws every level about as often as its weight says", func() {
		plan := soaktest.Plan(1)
		plan.Factors[1].Levels[0].Weight = 3
		count := map[string]int{}
		for i := range 4000 {
			count[plan.Draw(i).Levels["process"]]++
		}
		Expect(count["fresh"]).To(BeNumerically("~", 3000, 120))
	})

	It("leaves out a factor that does not apply to the route", func() {
		plan := soaktest.Plan(1)
		for i := range 50 {
			run := plan.Draw(i)
			_, drawn := run.Levels["chunking"]
			Expect(drawn).To(Equal(run.Levels[soak.Route] == "native"))
		}
	})

	It("is refused where nothing can be drawn from it", func() {
		Expect((&soak.Plan{}).Check()).To(MatchError(ContainSubstring("no request")))
		plan := soaktest.Plan(1)
		plan.Factors[3].Levels[1].Name = "few"
		Expect(plan.Check()).To(MatchError(ContainSubstring(`"few" of "company"`)))
	})
})

var _ = Describe("a bound", func() {
	DescribeTable("is that of Clopper and Pearson",
		// Computed in Python by bisection of the binomial distribution summed term by term with math.comb.
		func(n, failures int, want float64) {
			Expect(soak.UpperBound(n, failures)).To(BeNumerically("~", want, want*1e-6))
		},
		Entry("100 clean runs", 100, 0, 0.02951304960703999),
		Entry("10,000 clean runs", 10000, 0, 2.9952835977659076e-4),
		Entry("1 of 100", 100, 1, 0.04655981145353899),
		Entry("5 of 1,000", 1000, 5, 0.010484076911415676),
		Entry("all of 10", 10, 10, 1.0),
	)

	It("tells how many runs show a rate", func() {
		Expect(soak.RunsToSee(0.01)).To(Equal(299))
		Expect(soak.RunsToSee(1)).To(Equal(1))
	})
})

var _ = Describe("a comparison", func() {
	reference := soak.Outcome{Tokens: []int32{5, 6, 7}, Logprobs: []float64{-1, -2, -3}, LogitsSHA256: "aa", StopReason: "max_tokens", Pieces: []string{"a", "b", "c"}}
	DescribeTable("names the first difference", func(change func(*soak.Outcome), what string, step int) {
		got := reference
		change(&got)
		difference := soak.Compare(reference, got)
		Expect(difference).NotTo(BeNil())
		Expect(difference.What).To(Equal(what))
		Expect(difference.Step).To(Equal(step))
	},
		Entry("token", func(o *soak.Outcome) { o.Tokens = []int32{5, 9, 8} }, "token", 1),
		Entry("logprob", func(o *soak.Outcome) { o.Logprobs = []float64{-1, -2, -3.0000001} }, "logprob", 2),
		Entry("fewer tokens", func(o *soak.Outcome) { o.Tokens, o.Logprobs, o.Pieces = []int32{5}, []float64{-1}, []string{"a"} }, "length", 1),
		Entry("more tokens", func(o *soak.Outcome) { o.Tokens = []int32{5, 6, 7, 8} }, "length", 3),
		Entry("text alone", func(o *soak.Outcome) { o.Pieces = []string{"a", "b", "C"} }, "text", 2),
		Entry("stop reason", func(o *soak.Outcome) { o.StopReason = "end_of_text" }, "stop reason", -1),
		Entry("logits alone", func(o *soak.Outcome) { o.LogitsSHA256 = "ab" }, "logits", -1),
	)

	It("finds none where there is none, also without the text", func() {
		got := reference
		Expect(soak.Compare(reference, got)).To(BeNil())
		got.Pieces = nil
		Expect(soak.Compare(reference, got)).To(BeNil())
	})
})

var _ = Describe("a shard", func() {
	It("is read and refused", func() {
		Expect(soak.ParseShard("3/4")).To(Equal(soak.Shard{Index: 3, Of: 4}))
		for _, text := range []string{"", "4/4", "-1/4", "1", "1/0", "a/b"} {
			_, err := soak.ParseShard(text)
			Expect(err).To(MatchError(ContainSubstring("--shard")), text)
		}
	})
})
