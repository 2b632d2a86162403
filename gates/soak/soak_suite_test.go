package soak_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/soak"
	"touchstone/suites/checkout"
	soaking "touchstone/suites/soak"
	"touchstone/suites/target"
)

var (
	configured = target.Flags(flag.CommandLine)
	settings   = struct {
		runs, oneIn *int
		complete    *bool
		duration    *time.Duration
		shard, seed *string
	}{
		runs:     flag.Int("runs", 0, "runs of the whole soak, over all shards (0: until --duration is over)"),
		complete: flag.Bool("require-complete", os.Getenv("GATE_REQUIRE_COMPLETE") == "true", "fail also if runs are missing (GATE_REQUIRE_COMPLETE)"),
		duration: flag.Duration("duration", 0, "time after which no run is begun, such as 8h (0: until all runs are done)"),
		shard:    flag.String("shard", "0/1", "k/n: only the runs whose index leaves the remainder k when divided by n"),
		seed:     flag.String("seed", "", "master seed, 0 to 2^64-1 (default: that of the ledger in --report-dir, or a random one)"),
		oneIn:    flag.Int("flip-one-in", 0, "negative control: flip one token in one run of N, outside the worker; the soak must fail"),
	}
	profile target.Profile
	shard   soak.Shard
	report  soak.Report // of the soak, for the specs
)

// unaskedRuns is what a soak does that is told neither runs nor duration, as in a test of everything.
const unaskedRuns = 20

// setupTimeout covers the build of the bundled worker on a machine that never built it.
const setupTimeout = 10 * time.Minute

// closeTimeout bounds the end of the worker.
const closeTimeout = 30 * time.Second

func TestSoak(t *testing.T) {
	var err error
	if profile, err = configured(checkout.Root()); err != nil {
		t.Fatal(err)
	}
	if shard, err = soak.ParseShard(*settings.shard); err != nil {
		t.Fatal(err)
	}
	if *settings.runs < 0 || *settings.duration < 0 || *settings.oneIn < 0 {
		t.Fatal("--runs, --duration and --flip-one-in must not be negative")
	}
	if *settings.runs == 0 && *settings.duration == 0 {
		*settings.runs = unaskedRuns
		if profile.ReportDir == "" {
			profile.ReportDir = t.TempDir() // the ledger of a soak that somebody asked for is left alone
		}
	}
	if profile.ReportDir == "" {
		profile.ReportDir = filepath.Join(checkout.Root(), "reports", "out", "soak")
	}
	RegisterFailHandler(Fail)
	suite, _ := GinkgoConfiguration()
	if suite.ParallelTotal > 1 {
		t.Fatal("a soak runs in one process: leave out -p and --procs, and use --shard")
	}
	if !suite.DryRun {
		// The soak comes before the specs that judge it: in a spec, Ginkgo would answer Ctrl-C with a dump of all goroutines.
		if report, err = runSoak(); err != nil {
			t.Fatal(err)
		}
	}
	RunSpecs(t, "soak")
}

// masterSeed is the one that was given, that of the ledger to go on with, or a random one.
func masterSeed(ledger string) (uint64, error) {
	if *settings.seed != "" {
		var seed uint64
		if _, err := fmt.Sscanf(*settings.seed, "%d", &seed); err != nil || fmt.Sprint(seed) != *settings.seed {
			return 0, fmt.Errorf("--seed: %q is not a number from 0 to 2^64-1", *settings.seed)
		}
		return seed, nil
	}
	seed, found, err := soak.MasterSeedOf(ledger)
	if err != nil || found {
		return seed, err
	}
	return rand.Uint64(), nil
}

// runSoak goes on with the ledger in the report's folder, or starts it, until all is done or somebody interrupts, and writes
// the report of what was done.
func runSoak() (_ soak.Report, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	path := filepath.Join(profile.ReportDir, soak.LedgerFile)
	seed, err := masterSeed(path)
	if err != nil {
		return report, err
	}
	setup, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	subject, err := target.Prepare(setup, profile)
	if err != nil {
		return report, err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		err = errors.Join(err, subject.Close(closing))
	}()
	executor, err := soaking.NewExecutor(setup, subject)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, executor.Close()) }()
	if *settings.oneIn > 0 {
		executor = &soaking.Flip{Executor: executor, N: *settings.oneIn, Seed: seed}
	}
	machine, err := os.Hostname()
	if err != nil {
		return report, err
	}
	plan := soaking.NewPlan(seed, subject)
	ledger, err := soak.OpenLedger(path, soak.NewHeader(plan, executor.Subject(), shard, machine))
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, ledger.Close()) }()
	progress := newProgress(os.Stdout, seed, ledger)
	failure := soaking.Soak(ctx, soaking.Settings{
		Executor: executor, Ledger: ledger, Runs: *settings.runs, Duration: *settings.duration, Shard: shard, Observe: progress.observe,
	})
	progress.end()
	report, err := soak.WriteReport(profile.ReportDir)
	if err != nil {
		return report, errors.Join(failure, err)
	}
	fmt.Printf("\n%s\n%s\n\n", report.Line, filepath.Join(profile.ReportDir, soak.MarkdownFile))
	return report, failure
}

var _ = Describe("the determinism soak", func() {
	It("had an answer for every run", func() {
		Expect(report.Runs).To(BeNumerically(">", 0), "nothing was run")
		Expect(report.Failures).To(BeEmpty())
	})

	It("found one distinct output for every request", func() {
		if len(report.Divergences) > 0 {
			Fail(report.Divergences[0].String())
		}
		for _, row := range report.Requests {
			Expect(row.Distinct).To(BeNumerically("<=", 1), "request %d", row.Request)
		}
	})

	It("did every run", func() {
		if report.Missing > 0 && !*settings.complete {
			Skip(report.Line)
		}
		Expect(report.Missing).To(BeZero(), report.Line)
	})

	It("could have seen what it looked for", func() {
		Expect(report.Problems).To(BeEmpty())
	})
})
