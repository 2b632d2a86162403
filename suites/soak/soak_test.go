package soak_test

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/soak"
	"touchstone/reports/soak/soaktest"
	soaking "touchstone/suites/soak"
)

// inMemory soaks with the fake and returns the ledger.
func inMemory(ctx context.Context, executor soaking.Executor, plan soak.Plan, runs int, shard soak.Shard) *soak.Ledger {
	GinkgoHelper()
	ledger := soak.NewLedger(header(plan, shard))
	Expect(soaking.Soak(ctx, soaking.Settings{Executor: executor, Ledger: ledger, Runs: runs, Shard: shard})).To(Succeed())
	return ledger
}

var _ = Describe("a soak", func() {
	It("passes over a deterministic subject and states the bound", func(ctx SpecContext) {
		ledger := inMemory(ctx, &fakeExecutor{}, soaktest.Plan(3), 300, soak.Shard{})
		report := soak.NewReport(&ledger.Contents)
		Expect(report.Verdict).To(Equal("PASS"), report.Line)
		Expect(report.Runs).To(Equal(300))
		Expect(report.UpperBound).To(BeNumerically("~", 0.009936, 1e-6))
		for _, row := range report.Requests {
			Expect(row.Distinct).To(Equal(1))
		}
		Expect(report.Controls.Changed).To(Equal(report.Controls.Seeds))
		Expect(report.Controls.Named).To(Equal(20))
	})

	It("gives the canonical form of one soak from four merged shards, byte for byte", func(ctx SpecContext) {
		plan := soaktest.Plan(11)
		whole := inMemory(ctx, &fakeExecutor{}, plan, 101, soak.Shard{})
		var shards []soak.Contents
		for _, i := range []int{2, 0, 3, 1} {
			shards = append(shards, inMemory(ctx, &fakeExecutor{}, plan, 101, soak.Shard{Index: i, Of: 4}).Contents)
		}
		merged, err := soak.Merge(shards...)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(merged.Canonical())).To(Equal(string(whole.Canonical())))
		Expect(soak.NewReport(&merged).Verdict).To(Equal("PASS"))

		_, err = soak.Merge(shards[0], shards[1], shards[0])
		Expect(err).To(MatchError(ContainSubstring("recorded twice")))
		missing, err := soak.Merge(shards[0], shards[1], shards[3])
		Expect(err).NotTo(HaveOccurred())
		Expect(soak.NewReport(&missing).Verdict).To(Equal("INCOMPLETE"))
	})

	It("does not merge what is not of one soak", func(ctx SpecContext) {
		a := inMemory(ctx, &fakeExecutor{}, soaktest.Plan(1), 5, soak.Shard{Index: 0, Of: 2})
		b := inMemory(ctx, &fakeExecutor{}, soaktest.Plan(2), 5, soak.Shard{Index: 1, Of: 2})
		_, err := soak.Merge(a.Contents, b.Contents)
		Expect(err).To(MatchError(ContainSubstring("the master seed is 1 in one and 2 in the other")))
	})

	It("sees shards whose references differ", func(ctx SpecContext) {
		plan := soaktest.Plan(1)
		a := inMemory(ctx, &fakeExecutor{}, plan, 8, soak.Shard{Index: 0, Of: 2})
		b := inMemory(ctx, &fakeExecutor{deaf: true}, plan, 8, soak.Shard{Index: 1, Of: 2})
		merged, err := soak.Merge(a.Contents, b.Contents)
		Expect(err).NotTo(HaveOccurred())
		report := soak.NewReport(&merged)
		Expect(report.Verdict).To(Equal("FAIL"))
		Expect(report.Problems).To(ContainElement(ContainSubstring("the shards have different references of request 0")))
	})

	It("fails where the seed changes nothing", func(ctx SpecContext) {
		ledger := inMemory(ctx, &fakeExecutor{deaf: true}, soaktest.Plan(1), 10, soak.Shard{})
		report := soak.NewReport(&ledger.Contents)
		Expect(report.Verdict).To(Equal("FAIL"))
		Expect(report.Problems).To(ContainElement(ContainSubstring("another seed changed no output")))
	})

	It("differs when the master seed differs", func(ctx SpecContext) {
		a := inMemory(ctx, &fakeExecutor{}, soaktest.Plan(1), 10, soak.Shard{})
		b := inMemory(ctx, &fakeExecutor{}, soaktest.Plan(2), 10, soak.Shard{})
		Expect(a.References).NotTo(Equal(b.References))
	})

	It("catches, names and minimises a token that is flipped in one run of N, in 20 of 20 trials", func(ctx SpecContext) {
		for trial := range uint64(20) {
			n := 20 + int(trial)*9
			executor := &soaking.Flip{Executor: &fakeExecutor{}, N: n, Seed: trial}
			ledger := inMemory(ctx, executor, soaktest.Plan(trial), n, soak.Shard{})
			report := soak.NewReport(&ledger.Contents)
			Expect(report.Verdict).To(Equal("FAIL"), "trial %d, one in %d", trial, n)
			Expect(report.Divergences).To(HaveLen(1))
			first := report.Divergences[0]
			run := ledger.Records[first.Run].Run
			Expect(first.Role).To(Equal(soak.SubjectRole))
			Expect(first.Difference.What).To(Equal("token"))
			// The step that the report names is where the outputs differ in truth.
			want, _ := ledger.Reference(run.Request)
			got := ledger.Records[first.Run].Outputs[0].Outcome.Tokens
			for step := range want.Tokens {
				if step == first.Difference.Step {
					Expect(got[step]).NotTo(Equal(want.Tokens[step]), "trial %d, step %d", trial, step)
				} else {
					Expect(got[step]).To(Equal(want.Tokens[step]), "trial %d, step %d", trial, step)
				}
			}

			minimum, err := soaking.Minimise(ctx, executor, &ledger.Contents, run, 2*n)
			Expect(err).NotTo(HaveOccurred())
			Expect(minimum.Reproduced).To(BeTrue())
			Expect(minimum.Keep).To(BeEmpty(), "no factor is to blame for it")
		}
	})

	It("minimises a divergence to the factors that cause it", func(ctx SpecContext) {
		executor := &fakeExecutor{spoil: func(run soak.Run) bool {
			return run.Levels["threads"] == "4" && len(run.Company) >= 1 && run.Levels[soak.Route] == "native"
		}}
		ledger := inMemory(ctx, executor, soaktest.Plan(5), 200, soak.Shard{})
		report := soak.NewReport(&ledger.Contents)
		Expect(report.Divergences).NotTo(BeEmpty())
		first := report.Divergences[0]
		minimum, err := soaking.Minimise(ctx, executor, &ledger.Contents, ledger.Records[first.Run].Run, 1)
		Expect(err).NotTo(HaveOccurred())
		Expect(minimum.Keep).To(ConsistOf("route=native", "threads=4", HavePrefix("company=")))
		Expect(minimum.Executions).To(BeNumerically("<=", 60))
		for _, row := range report.Factors {
			if row.Factor == "threads" {
				if row.Level == "4" {
					Expect(row.Failed).To(BeNumerically(">", 0), "threads %s", row.Level)
				} else {
					Expect(row.Failed).To(BeZero(), "threads %s", row.Level)
				}
			}
		}
	})

	It("records a run without an answer, and gives up on a subject that answers none", func(ctx SpecContext) {
		executor := &fakeExecutor{fail: func(run soak.Run) error {
			if run.Index == 4 || run.Index >= 20 {
				return errors.New("connection refused")
			}
			return nil
		}}
		ledger := soak.NewLedger(header(soaktest.Plan(1), soak.Shard{}))
		err := soaking.Soak(ctx, soaking.Settings{Executor: executor, Ledger: ledger, Runs: 100})
		Expect(err).To(MatchError(ContainSubstring("10 runs in a row had no answer; the last one: connection refused")))
		report := soak.NewReport(&ledger.Contents)
		Expect(report.Verdict).To(Equal("FAIL"))
		Expect(report.Errors).To(Equal(11))
		Expect(report.Failures[0]).To(Equal(soak.Failure{Run: 4, Error: "connection refused"}))
	})

	It("ends with what was done when it is cancelled or its time is over", func(ctx SpecContext) {
		cancelled, cancel := context.WithCancel(ctx)
		ledger := soak.NewLedger(header(soaktest.Plan(1), soak.Shard{}))
		settings := soaking.Settings{Executor: &fakeExecutor{}, Ledger: ledger, Runs: 100, Observe: func(r soak.Record) {
			if r.Index == 41 {
				cancel()
			}
		}}
		Expect(soaking.Soak(cancelled, settings)).To(Succeed())
		report := soak.NewReport(&ledger.Contents)
		Expect(report.Verdict).To(Equal("INCOMPLETE"))
		Expect(report.Runs).To(Equal(42))
		Expect(report.Missing).To(Equal(58))

		settings.Runs, settings.Duration, settings.Observe = 0, 20*time.Millisecond, nil
		Expect(soaking.Soak(ctx, settings)).To(Succeed())
		Expect(len(ledger.Records)).To(BeNumerically(">", 42))
	})
})

func ledgerPath() string { return filepath.Join(GinkgoT().TempDir(), "ledger.jsonl") }
