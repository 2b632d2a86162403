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
	"touchstone/reports/soak/soaktest"
)

// subject is what the sample ledgers are of.
var subject = soak.Subject{Harness: "test", Worker: "fake"}

// written records runs of a plan in a folder, with another token in the run that is spoilt, and returns the folder.
func written(of soak.Subject, runs, spoilt int) string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	plan := soaktest.Plan(1)
	ledger, err := soak.OpenLedger(filepath.Join(dir, soak.LedgerFile), soak.NewHeader(plan, of, soak.Shard{}, "test"))
	Expect(err).NotTo(HaveOccurred())
	lines := []soak.Line{{Asked: &runs}}
	for i, request := range plan.Requests {
		lines = append(lines, soak.Line{Reference: &soak.Reference{Request: i, Outcome: soaktest.Outcome(request)}})
	}
	changed := plan.Requests[5]
	changed.Seed++
	lines = append(lines, soak.Line{Control: &soak.Control{Request: 5, Seed: changed.Seed, Outcome: soaktest.Outcome(changed)}})
	for _, line := range lines {
		Expect(ledger.Append(line)).To(Succeed())
	}
	for index := range runs {
		record := soak.Record{Run: plan.Draw(index), Verdict: soak.Same, Volatile: &soak.Volatile{At: "2026-01-31T12:00:00Z", Millis: 1}}
		for _, answer := range soaktest.Answers(&plan, record.Run) {
			if index == spoilt && answer.Role == soak.SubjectRole {
				answer.Outcome, record.Verdict = answer.Outcome.Flip(3), soak.Diverged
			}
			output, err := ledger.Judge(answer)
			Expect(err).NotTo(HaveOccurred())
			record.Outputs = append(record.Outputs, output)
		}
		Expect(ledger.Append(soak.Line{Run: &record})).To(Succeed())
	}
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
	const spoilt, none = 17, -1

	It("names the first divergence in every form", func() {
		dir := written(subject, 50, spoilt)
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

	It("is accepted as it was written, divergences included", func() {
		for _, run := range []int{none, spoilt} {
			_, differences, err := soak.Verify(written(subject, 50, run))
			Expect(err).NotTo(HaveOccurred())
			Expect(differences).To(BeEmpty())
		}
	})

	It("does not pass when a run was left out of its ledger", func() {
		dir := written(subject, 50, spoilt)
		edit(filepath.Join(dir, soak.LedgerFile), onLine(`"index":17,`, func(string) string { return "" }))
		_, differences, err := soak.Verify(dir)
		Expect(err).NotTo(HaveOccurred())
		Expect(differences).To(ContainElement("canonical.jsonl is not what the ledger gives"))
		report, err := soak.WriteReport(dir)
		Expect(err).NotTo(HaveOccurred())
		Expect(report.Line).To(HavePrefix("INCOMPLETE 49 runs of 50"))
	})

	It("shows nothing of its subject that a terminal, a page or a service would act on", func() {
		hostile := soak.Subject{Harness: "test", Worker: "<b>\x1b[31m\n::stop-commands::x | [a](http://b)", Model: "m\u202e"}
		dir := written(hostile, 20, none)
		for _, name := range []string{soak.MarkdownFile, soak.HTMLFile, soak.JUnitFile, soak.ReportFile} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			Expect(err).NotTo(HaveOccurred())
			for _, forbidden := range []string{"<b>", "\x1b", "\n::", "\u202e", "](http://"} {
				if name == soak.MarkdownFile || forbidden != "](http://" { // which is nothing elsewhere
					Expect(string(text)).NotTo(ContainSubstring(forbidden), name)
				}
			}
		}
		report, differences, err := soak.Verify(dir)
		Expect(err).NotTo(HaveOccurred())
		Expect(differences).To(BeEmpty())
		Expect(report.Line).NotTo(MatchRegexp(`[\x1b\x{202e}]|\n::`))
	})

	DescribeTable("is refused when it was tampered with", func(file string, change func(string) string, want string) {
		dir := written(subject, 50, spoilt)
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
