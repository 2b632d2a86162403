package soak_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/soak"
	"touchstone/reports/soak/soaktest"
	soaking "touchstone/suites/soak"
)

const (
	childLedger = "SOAK_TEST_LEDGER"
	childRuns   = 800
	childSeed   = 99
)

// soakAsChild is the process that the test kills.
func soakAsChild(path string) int {
	ledger, err := soak.OpenLedger(path, header(soaktest.Plan(childSeed), soak.Shard{}))
	if err == nil {
		err = soaking.Soak(context.Background(), soaking.Settings{Executor: &fakeExecutor{}, Ledger: ledger, Runs: childRuns})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

var _ = Describe("a ledger", func() {
	It("loses no run and counts none twice over 20 kills at random moments", func(ctx SpecContext) {
		path := ledgerPath()
		const seed = 20
		random := rand.New(rand.NewPCG(seed, 0))
		kills, before := 0, 0
		for kills < 20 {
			child := exec.CommandContext(ctx, os.Args[0])
			child.Env = append(os.Environ(), childLedger+"="+path)
			var stderr bytes.Buffer
			child.Stderr = &stderr
			Expect(child.Start()).To(Succeed())
			// The moment is a number of bytes that the ledger grows by, and then up to a millisecond.
			grow := int64(200 + random.IntN(15000))
			start := size(path)
			Eventually(ctx, func() int64 { return size(path) }).WithPolling(100*time.Microsecond).WithTimeout(20*time.Second).
				Should(BeNumerically(">=", start+grow), "the child stopped writing: %s", &stderr)
			spin(time.Duration(random.IntN(1000)) * time.Microsecond)
			Expect(child.Process.Kill()).To(Succeed())
			Expect(child.Wait()).To(MatchError(ContainSubstring("killed")), "it ended before it was killed: %s", &stderr)
			kills++
			contents, err := soak.ReadLedger(path)
			Expect(err).NotTo(HaveOccurred())
			Expect(len(contents.Records)).To(BeNumerically(">=", before), "a run that counted is lost")
			before = len(contents.Records)
		}
		ledger, err := soak.OpenLedger(path, header(soaktest.Plan(childSeed), soak.Shard{}))
		Expect(err).NotTo(HaveOccurred())
		defer func() { Expect(ledger.Close()).To(Succeed()) }()
		Expect(before).To(BeNumerically(">", 20))
		Expect(soaking.Soak(ctx, soaking.Settings{Executor: &fakeExecutor{}, Ledger: ledger, Runs: childRuns})).To(Succeed())
		Expect(ledger.Done()).To(Equal(childRuns))
		whole := inMemory(ctx, &fakeExecutor{}, soaktest.Plan(childSeed), childRuns, soak.Shard{})
		read, err := soak.ReadLedger(path)
		Expect(err).NotTo(HaveOccurred())
		Expect(bytes.Equal(read.Canonical(), whole.Canonical())).To(BeTrue(), "the killed soak differs from one in one piece")
	})

	It("goes on from every byte at which its last line may be torn", func(ctx SpecContext) {
		path := ledgerPath()
		plan := soaktest.Plan(4)
		ledger, err := soak.OpenLedger(path, header(plan, soak.Shard{}))
		Expect(err).NotTo(HaveOccurred())
		Expect(soaking.Soak(ctx, soaking.Settings{Executor: &fakeExecutor{}, Ledger: ledger, Runs: 3})).To(Succeed())
		Expect(ledger.Close()).To(Succeed())
		text, err := os.ReadFile(path)
		Expect(err).NotTo(HaveOccurred())
		whole, err := soak.ReadLedger(path)
		Expect(err).NotTo(HaveOccurred())
		want := whole.Canonical()
		last := bytes.LastIndexByte(text[:len(text)-1], '\n') + 1
		for cut := last; cut < len(text); cut++ {
			Expect(os.WriteFile(path, text[:cut], 0o600)).To(Succeed())
			again, err := soak.OpenLedger(path, header(plan, soak.Shard{}))
			Expect(err).NotTo(HaveOccurred(), "cut at %d", cut)
			Expect(again.Done()).To(Equal(2))
			Expect(soaking.Soak(ctx, soaking.Settings{Executor: &fakeExecutor{}, Ledger: again, Runs: 3})).To(Succeed())
			Expect(again.Close()).To(Succeed())
			read, err := soak.ReadLedger(path)
			Expect(err).NotTo(HaveOccurred())
			Expect(string(read.Canonical())).To(Equal(string(want)), "cut at %d", cut)
		}
	})

	It("starts again if even its header is torn", func() {
		path := ledgerPath()
		Expect(os.WriteFile(path, []byte(`{"header":{"form`), 0o600)).To(Succeed())
		ledger, err := soak.OpenLedger(path, header(soaktest.Plan(1), soak.Shard{}))
		Expect(err).NotTo(HaveOccurred())
		Expect(ledger.Close()).To(Succeed())
		_, err = soak.ReadLedger(path)
		Expect(err).NotTo(HaveOccurred())
	})

	It("is not gone on with by another soak, nor by two at once", func() {
		path := ledgerPath()
		ledger, err := soak.OpenLedger(path, header(soaktest.Plan(1), soak.Shard{}))
		Expect(err).NotTo(HaveOccurred())
		_, err = soak.OpenLedger(path, header(soaktest.Plan(1), soak.Shard{}))
		Expect(err).To(MatchError(ContainSubstring("is being written by another process")))
		Expect(ledger.Close()).To(Succeed())
		_, err = soak.OpenLedger(path, header(soaktest.Plan(2), soak.Shard{}))
		Expect(err).To(MatchError(ContainSubstring("the master seed is 1 in one and 2 in the other")))
	})

	It("refuses what is damaged before its last line", func(ctx SpecContext) {
		path := ledgerPath()
		ledger, err := soak.OpenLedger(path, header(soaktest.Plan(1), soak.Shard{}))
		Expect(err).NotTo(HaveOccurred())
		Expect(soaking.Soak(ctx, soaking.Settings{Executor: &fakeExecutor{}, Ledger: ledger, Runs: 3})).To(Succeed())
		Expect(ledger.Close()).To(Succeed())
		text, err := os.ReadFile(path)
		Expect(err).NotTo(HaveOccurred())
		lines := strings.SplitAfter(string(text), "\n")
		run := lines[len(lines)-2]
		for name, damaged := range map[string]string{
			"recorded twice":    string(text) + run,
			"planSha256 edited": strings.Replace(string(text), `"maxTokens":5`, `"maxTokens":6`, 1),
			"line 2":            lines[0] + "{\n" + strings.Join(lines[1:], ""),
			"unknown field":     lines[0] + `{"runs":1}` + "\n" + strings.Join(lines[1:], ""),
		} {
			Expect(os.WriteFile(path, []byte(damaged), 0o600)).To(Succeed())
			_, err := soak.ReadLedger(path)
			Expect(err).To(HaveOccurred(), name)
		}
	})
})

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// spin lets a moment pass whose length is random: it synchronises nothing.
func spin(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
}
