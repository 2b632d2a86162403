package soak_test

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/soak"
	soaking "touchstone/suites/soak"
)

// written soaks into a folder and returns it.
func written(ctx SpecContext, executor soaking.Executor, runs int) string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	ledger, err := soak.OpenLedger(filepath.Join(dir, soak.LedgerFile), header(fakePlan(1), soak.Shard{}))
	Expect(err).NotTo(HaveOccurred())
	Expect(soaking.Soak(ctx, soaking.Settings{Executor: executor, Ledger: ledger, Runs: runs})).To(Succeed())
	Expect(ledger.Close()).To(Succeed())
	_, err = soak.WriteReport(dir)
	Expect(err).NotTo(HaveOccurred())
	return dir
}

func edit(path string, change func(string) string) {
	GinkgoHelper()
	text, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	changed := change(string(text))
	Expect(changed).NotTo(Equal(string(text)), "the edit changes nothing")
	Expect(os.WriteFile(path, []byte(changed), 0o600)).To(Succeed())
}

var _ = Describe("a written report", func() {
	spoil := func(run soak.Run) bool { return run.Index == 17 }

	It("names the first divergence in every form", func(ctx SpecContext) {
		dir := written(ctx, &fakeExecutor{spoil: spoil}, 50)
		for _, name := range []string{soak.MarkdownFile, soak.HTMLFile, soak.JUnitFile, soak.ReportFile} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			Expect(err).NotTo(HaveOccurred())
			Expect(string(text)).To(ContainSubstring("FAIL 50 runs"), name)
			if name != soak.ReportFile {
				Expect(string(text)).To(ContainSubstring("run 17, subject (request"), name)
				Expect(string(text)).To(ContainSubstring("step 3: token: want"), name)
			}
		}
		text, err := os.ReadFile(filepath.Join(dir, soak.ReportFile))
		Expect(err).NotTo(HaveOccurred())
		var report soak.Report
		Expect(json.Unmarshal(text, &report)).To(Succeed())
		Expect(report.Divergences[0].Run).To(Equal(17))
		text, err = os.ReadFile(filepath.Join(dir, soak.JUnitFile))
		Expect(err).NotTo(HaveOccurred())
		var suites struct {
			Suites []struct {
				Tests    int        `xml:"tests,attr"`
				Failures int        `xml:"failures,attr"`
				Cases    []struct{} `xml:"testcase"`
			} `xml:"testsuite"`
		}
		Expect(xml.Unmarshal(text, &suites)).To(Succeed())
		Expect(suites.Suites).To(HaveLen(1))
		suite := suites.Suites[0]
		Expect(suite.Failures).To(Equal(1))
		Expect(suite.Cases).To(HaveLen(suite.Tests))
	})

	It("is accepted as it was written, divergences included", func(ctx SpecContext) {
		for _, executor := range []*fakeExecutor{{}, {spoil: spoil}} {
			_, differences, err := soak.Verify(written(ctx, executor, 50))
			Expect(err).NotTo(HaveOccurred())
			Expect(differences).To(BeEmpty())
		}
	})

	It("does not pass when a run was left out of its ledger", func(ctx SpecContext) {
		dir := written(ctx, &fakeExecutor{spoil: spoil}, 50)
		edit(filepath.Join(dir, soak.LedgerFile), onLine(`"index":17,`, func(string) string { return "" }))
		_, differences, err := soak.Verify(dir)
		Expect(err).NotTo(HaveOccurred())
		Expect(differences).To(ContainElement("canonical.jsonl is not what the ledger gives"))
		report, err := soak.WriteReport(dir)
		Expect(err).NotTo(HaveOccurred())
		Expect(report.Line).To(HavePrefix("INCOMPLETE 49 runs of 50"))
	})

	DescribeTable("is refused when it was tampered with", func(ctx SpecContext, file string, change func(string) string, want string) {
		dir := written(ctx, &fakeExecutor{spoil: spoil}, 50)
		edit(filepath.Join(dir, file), change)
		// Whoever tampers with the ledger can render the report again.
		if file == soak.LedgerFile {
			if _, err := soak.WriteReport(dir); err != nil {
				Expect(err).To(MatchError(ContainSubstring(want)))
				return
			}
		}
		_, differences, err := soak.Verify(dir)
		Expect(err).NotTo(HaveOccurred())
		Expect(differences).To(ContainElement(ContainSubstring(want)))
	},
		Entry("the verdict of the report", soak.MarkdownFile, replace("FAIL", "PASS"), "report.md is not what the ledger gives"),
		Entry("a count", soak.ReportFile, replace(`"runs": 50`, `"runs": 5000`), "report.json is not what the ledger gives"),
		Entry("the page", soak.HTMLFile, replace("FAIL", "PASS"), "report.html is not what the ledger gives"),
		Entry("a testcase", soak.JUnitFile, replace("failure", "skipped"), "junit.xml is not what the ledger gives"),
		Entry("the verdict of a run", soak.LedgerFile, replace(`"verdict":"diverged"`, `"verdict":"same"`), `run 17: it is recorded as "same"`),
		Entry("a hidden difference", soak.LedgerFile, onLine(`"verdict":"diverged"`, func(line string) string {
			from, to := strings.Index(line, `,"difference":`), strings.Index(line, `,"volatile"`)
			from2 := strings.Index(line, `},{"role"`)
			if from2 < 0 || from2 > to {
				from2 = to - len(`}]`)
			}
			return strings.Replace(line[:from]+line[from2:], `"verdict":"diverged"`, `"verdict":"same"`, 1)
		}), "run 17: subject: it counts as the same, but its hash is not that of the reference"),
		Entry("another factor", soak.LedgerFile, onLine(`"index":20,`, func(line string) string {
			if strings.Contains(line, `"threads":"1"`) {
				return strings.Replace(line, `"threads":"1"`, `"threads":"2"`, 1)
			}
			return strings.Replace(strings.Replace(line, `"threads":"2"`, `"threads":"1"`, 1), `"threads":"4"`, `"threads":"1"`, 1)
		}), "run 20: it is not the run that the master seed draws"),
		Entry("a run twice", soak.LedgerFile, onLine(`"index":20,`, func(line string) string { return line + line }), "recorded twice"),
		Entry("a plan that was changed", soak.LedgerFile, replace(`"maxTokens":5`, `"maxTokens":6`), "the plan has the sha256"),
	)
})

func replace(from, to string) func(string) string {
	return func(text string) string { return strings.ReplaceAll(text, from, to) }
}

// onLine changes the lines that contain a text.
func onLine(mark string, change func(string) string) func(string) string {
	return func(text string) string {
		lines := strings.SplitAfter(text, "\n")
		for i, line := range lines {
			if strings.Contains(line, mark) {
				lines[i] = change(line)
			}
		}
		return strings.Join(lines, "")
	}
}
