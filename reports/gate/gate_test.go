package gate_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports"
	"touchstone/reports/verdict"
)

func TestGate(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Gate")
}

// The sample gate and the ginkgo command are compiled once and run with different flags.
var sampleBinary, ginkgoBinary string

var _ = BeforeSuite(func() {
	folder := GinkgoT().TempDir()
	sampleBinary, ginkgoBinary = filepath.Join(folder, "sample.test"), filepath.Join(folder, "ginkgo")
	for _, arguments := range [][]string{
		{"test", "-c", "-o", sampleBinary, "./testdata/sample"},
		{"build", "-o", ginkgoBinary, "github.com/onsi/ginkgo/v2/ginkgo"},
	} {
		output, err := exec.Command("go", arguments...).CombinedOutput()
		Expect(err).NotTo(HaveOccurred(), string(output))
	}
})

// outcome is what a run of the sample gate left.
type outcome struct {
	exit   int
	output string
	dir    string
	report reports.Document // zero when no report was written
}

func (o outcome) states() map[string]verdict.State {
	states := map[string]verdict.State{}
	for _, row := range o.report.Rows {
		states[row.ID] = row.State
	}
	return states
}

type setting func(command *exec.Cmd)

func environment(pairs ...string) setting {
	return func(command *exec.Cmd) { command.Env = append(command.Env, pairs...) }
}

// runSample runs the sample gate in a scenario, directly or, when command names more than flags, through it.
func runSample(scenario string, arguments []string, settings ...setting) outcome {
	GinkgoHelper()
	folder := GinkgoT().TempDir()
	command := exec.Command(sampleBinary, arguments...)
	if len(arguments) > 0 && arguments[0] == ginkgoBinary {
		command = exec.Command(ginkgoBinary, append(arguments[1:], sampleBinary)...)
	}
	command.Dir = folder
	command.Env = append(os.Environ(), "SCENARIO="+scenario, "GATE_REPORT_DIR="+filepath.Join(folder, "out"),
		"GITHUB_ACTIONS=", "GITHUB_STEP_SUMMARY=", "GATE_REQUIRE_COMPLETE=", "GATE_SIGNING_KEY=", "GATE_TEETH=", "GATE_REDACT=", "GATE_CASE=", "GATE_SEED=")
	for _, apply := range settings {
		apply(command)
	}
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Run(); command.ProcessState == nil {
		Expect(err).NotTo(HaveOccurred())
	}
	result := outcome{exit: command.ProcessState.ExitCode(), output: output.String(), dir: filepath.Join(folder, "out")}
	if text, err := os.ReadFile(filepath.Join(result.dir, reports.ReportFile)); err == nil {
		Expect(json.Unmarshal(text, &result.report)).To(Succeed())
	}
	return result
}

var _ = Describe("A run in which everything ran, passed and was observed", func() {
	It("passes and says with what", func() {
		got := runSample("", nil)
		Expect(got.exit).To(Equal(0), got.output)
		Expect(got.report.Verdict).To(Equal(verdict.Pass))
		Expect(got.report.Line).To(Equal(`PASS 3/3 · worker sample (sha256 0123456789ab), version "1.0.0" (claimed) · device "cpu" (claimed) · model "tiny" (claimed)`))
		Expect(got.output).To(ContainSubstring("\n" + got.report.Line + "\n"))
	})

	It("gives the same from parallel processes, evidence included", func() {
		serial, parallel := runSample("", nil), runSample("", []string{ginkgoBinary, "--procs=2"})
		Expect(parallel.exit).To(Equal(0), parallel.output)
		Expect(parallel.output).To(ContainSubstring("PASS 3/3 · worker sample"))
		Expect(parallel.report.Line).To(Equal(serial.report.Line))
		for i, row := range parallel.report.Rows {
			Expect(row.Specs).To(HaveLen(len(serial.report.Rows[i].Specs)))
			for j, spec := range row.Specs {
				Expect(spec.Evidence).To(Equal(serial.report.Rows[i].Specs[j].Evidence), spec.Text)
			}
		}
		files, err := filepath.Glob(filepath.Join(parallel.dir, "evidence", "*", "*"))
		Expect(err).NotTo(HaveOccurred())
		Expect(files).To(HaveLen(2))
	})
})

// Each entry is a run that Ginkgo alone calls a success, or whose rows it forgets.
var _ = DescribeTable("A false green is not green:",
	func(scenario string, arguments []string, want verdict.Verdict, exit int, states map[string]verdict.State, reason string) {
		got := runSample(scenario, arguments)
		Expect(got.exit).To(Equal(exit), got.output)
		Expect(got.report.Verdict).To(Equal(want), got.output)
		for id, state := range states {
			Expect(got.states()).To(HaveKeyWithValue(id, state))
		}
		Expect(got.report.Line).To(ContainSubstring(reason))
		Expect(got.output).To(ContainSubstring(got.report.Line))
	},
	Entry("a typo in --focus", "", []string{"-ginkgo.focus=ansers"}, verdict.Incomplete, 1,
		map[string]verdict.State{"HTTP-01": verdict.NotRun, "HTTP-02": verdict.NotRun}, "not a full run: --focus=ansers"),
	Entry("a typo in --label-filter", "", []string{"-ginkgo.label-filter=HTPP-01"}, verdict.Incomplete, 1,
		map[string]verdict.State{"HTTP-01": verdict.NotRun}, "not a full run: --label-filter=HTPP-01"),
	Entry("a focus on one row", "", []string{"-ginkgo.focus=twice"}, verdict.Incomplete, 0,
		map[string]verdict.State{"HTTP-01": verdict.NotRun, "HTTP-02": verdict.Passed}, "2 not run: not selected by --focus=twice"),
	Entry("a focus that happens to match everything", "", []string{"-ginkgo.focus=answers"}, verdict.Incomplete, 0,
		map[string]verdict.State{"HTTP-01": verdict.Passed}, "not a full run: --focus=answers"),
	Entry("a skip", "", []string{"-ginkgo.skip=twice"}, verdict.Incomplete, 0,
		map[string]verdict.State{"HTTP-02": verdict.NotRun}, "--skip=twice"),
	Entry("every spec skipped", "all skipped", []string{"-ginkgo.fail-on-empty"}, verdict.Incomplete, 1,
		map[string]verdict.State{"HTTP-01": verdict.NotRun}, "2 not run: needs a worker · 1 not run: needs a CUDA device"),
	Entry("a failing BeforeSuite", "setup fails", nil, verdict.Fail, 1,
		map[string]verdict.State{"HTTP-01": verdict.Inconclusive, "HTTP-02": verdict.Inconclusive, "KRN-01": verdict.Inconclusive},
		"worker http://host · device unknown · model unknown · 3 inconclusive: HTTP-01, HTTP-02, KRN-01 · BeforeSuite failed: the worker did not start"),
	Entry("a failing AfterSuite", "cleanup fails", nil, verdict.Fail, 1, nil, "AfterSuite failed: the worker did not stop"),
	Entry("a dry run", "", []string{"-ginkgo.dry-run"}, verdict.Incomplete, 1,
		map[string]verdict.State{"HTTP-01": verdict.NotRun}, "3 not run: dry run"),
	Entry("an empty It", "empty It", nil, verdict.Fail, 1,
		map[string]verdict.State{"HTTP-02": verdict.Inconclusive}, "1 inconclusive: HTTP-02"),
	Entry("Eventually without Should", "Eventually without Should", nil, verdict.Fail, 1,
		map[string]verdict.State{"HTTP-02": verdict.Inconclusive}, "1 inconclusive: HTTP-02"),
	Entry("a loop over nothing", "zero iterations", nil, verdict.Fail, 1,
		map[string]verdict.State{"HTTP-02": verdict.Inconclusive}, "1 inconclusive: HTTP-02"),
	// The seeds fix the order: with the first another spec follows, with the second none does.
	Entry("an assertion in a goroutine after its spec", "late assertion", []string{"-ginkgo.seed=3"}, verdict.Fail, 1,
		map[string]verdict.State{"HTTP-01": verdict.Failed}, "1 failed: HTTP-01"),
	Entry("an assertion in a goroutine after the last spec", "late assertion", []string{"-ginkgo.seed=2"}, verdict.Fail, 1,
		map[string]verdict.State{"HTTP-01": verdict.Passed, "HTTP-02": verdict.Passed}, "FAIL 3/3"),
	Entry("a focus in the code", "programmatic focus", nil, verdict.Incomplete, 197,
		map[string]verdict.State{"HTTP-02": verdict.NotRun}, "not a full run: focused in the code"),
	Entry("a pending spec", "pending", nil, verdict.Incomplete, 0,
		map[string]verdict.State{"HTTP-01": verdict.NotRun}, "1 not run: pending"),
	Entry("--flake-attempts", "", []string{"-ginkgo.flake-attempts=3"}, verdict.Incomplete, 0, nil, "not a full run: --flake-attempts=3"),
	Entry("MustPassRepeatedly", "must pass repeatedly", nil, verdict.Incomplete, 0, nil, "specs run more than once"),
	Entry("a panic", "panics", nil, verdict.Fail, 1, map[string]verdict.State{"HTTP-01": verdict.Failed}, "1 failed: HTTP-01"),
)

var _ = Describe("A repeated run", func() {
	It("is never more than INCOMPLETE, since only its last report is left", func() {
		got := runSample("", []string{ginkgoBinary, "--repeat=1"})
		Expect(got.report.Verdict).To(Equal(verdict.Incomplete))
		Expect(got.report.Line).To(ContainSubstring("not a full run: repeated with --repeat=1"))
	})
})

var _ = DescribeTable("A tree that does not match the registry runs nothing:",
	func(scenario, want string) {
		got := runSample(scenario, nil)
		Expect(got.exit).To(Equal(1))
		Expect(got.output).To(ContainSubstring("nothing was run"))
		Expect(got.output).To(ContainSubstring(want))
		Expect(got.output).NotTo(ContainSubstring("Will run"))
		Expect(got.dir).NotTo(BeADirectory())
	},
	Entry("an unknown id", "unknown id", "which no row of the registry"),
	Entry("a spec without an id", "no id", "makes no claim"),
	Entry("FlakeAttempts", "flake attempts", "a gate does not retry"),
)

var _ = Describe("The exit code", func() {
	It("is 0 for INCOMPLETE unless completeness is required", func() {
		Expect(runSample("one skipped", nil).exit).To(Equal(0), "only a SHOULD row did not run")
		focused := []string{"-ginkgo.focus=twice"}
		Expect(runSample("", focused, environment("GATE_REQUIRE_COMPLETE=true")).exit).To(Equal(1))
	})

	It("is 0 when only a SHOULD row failed, which the report shows", func() {
		got := runSample("should fails", nil)
		Expect(got.exit).To(Equal(0), got.output)
		Expect(got.report.Line).To(HavePrefix("PASS 2/3 ·"))
		Expect(got.report.Line).To(HaveSuffix("1 failed: KRN-01"))
	})

	It("is not 0 when the report directory holds something else, which is left alone", func() {
		folder := GinkgoT().TempDir()
		Expect(os.WriteFile(filepath.Join(folder, "thesis.txt"), []byte("mine"), 0o644)).To(Succeed())
		got := runSample("", nil, environment("GATE_REPORT_DIR="+folder))
		Expect(got.exit).To(Equal(1))
		Expect(got.output).To(ContainSubstring("holds files but no report"))
		Expect(got.output).NotTo(ContainSubstring("Will run"))
		Expect(os.ReadFile(filepath.Join(folder, "thesis.txt"))).To(BeEquivalentTo("mine"))
	})

	It("is not 0 when somebody put something into an earlier report, which is left alone", func() {
		dir := runSample("", nil).dir
		Expect(os.WriteFile(filepath.Join(dir, "evidence", "note.txt"), []byte("mine"), 0o644)).To(Succeed())
		got := runSample("", nil, environment("GATE_REPORT_DIR="+dir))
		Expect(got.exit).To(Equal(1))
		Expect(got.output).To(ContainSubstring("holds evidence/note.txt, which no gate wrote"))
		Expect(filepath.Join(dir, "report.json")).To(BeAnExistingFile())
		Expect(os.ReadFile(filepath.Join(dir, "evidence", "note.txt"))).To(BeEquivalentTo("mine"))
	})

	It("is not 0 when the report cannot be written", func() {
		got := runSample("", nil, environment("GATE_REPORT_DIR=/proc/report"))
		Expect(got.exit).To(Equal(1))
		Expect(got.output).To(ContainSubstring("NO REPORT: write report /proc/report"))
	})

	It("is not 0 when the disk fills while the report is written, and no half report is left", func() {
		folder := GinkgoT().TempDir()
		// A limit on the size of files stands in for the full disk: writing fails in the middle of one.
		command := exec.Command("bash", "-c", "ulimit -f 8 && exec "+sampleBinary)
		command.Env = append(os.Environ(), "SCENARIO=", "GATE_REPORT_DIR="+filepath.Join(folder, "out"), "GITHUB_ACTIONS=", "GITHUB_STEP_SUMMARY=")
		output, err := command.CombinedOutput()
		Expect(err).To(HaveOccurred())
		Expect(command.ProcessState.ExitCode()).To(Equal(1))
		Expect(string(output)).To(MatchRegexp("NO REPORT: write report .*file too large"))
		Expect(os.ReadDir(folder)).To(BeEmpty())
	})

	It("is not 0 when the suite cannot tell what was tested", func() {
		got := runSample("subject panics", nil)
		Expect(got.exit).To(Equal(1))
		Expect(got.report.Line).To(HavePrefix("FAIL 3/3 · worker http://host"))
		Expect(got.report.Line).To(ContainSubstring("it is not known what was tested: no worker"))
	})
})

var _ = Describe("The command that runs a spec again", func() {
	It("selects that spec alone", func() {
		for _, row := range runSample("", nil).report.Rows {
			_, quoted, found := strings.Cut(row.Specs[0].Rerun, "--focus='")
			Expect(found).To(BeTrue())
			focus, _, _ := strings.Cut(quoted, "'")
			for id, state := range runSample("", []string{"-ginkgo.focus=" + focus}).states() {
				want := verdict.NotRun
				if id == row.ID {
					want = verdict.Passed
				}
				Expect(state).To(Equal(want), "%s with %s", id, focus)
			}
		}
	})
})

var _ = Describe("Settings", func() {
	It("take the outcome of the faults, and leave rows without a killed fault unproven", func() {
		file := filepath.Join(GinkgoT().TempDir(), "teeth.json")
		Expect(os.WriteFile(file, []byte(`{"sourcesSha256": "5a5a", "rows": {"HTTP-01": {"killed": ["no-answer"]}, "KRN-01": {"killed": ["slow-answer"]}}}`), 0o644)).To(Succeed())
		got := runSample("", nil, environment("GATE_TEETH="+file))
		Expect(got.report.Line).To(HavePrefix("INCOMPLETE 2/3 ·"))
		Expect(got.report.Line).To(HaveSuffix("1 unproven: HTTP-02"))
		Expect(differences(got.dir, known())).To(ContainElement(ContainSubstring("the outcome of the faults is not that of this harness")))
		Expect(differences(got.dir, withTeeth(file))).To(BeEmpty())
	})

	It("redact texts on request, and the report still verifies", func() {
		got := runSample("", nil, environment("GATE_REDACT=true"))
		Expect(os.ReadFile(onlyFile(got.dir, "HTTP-02"))).To(HavePrefix("[redacted: 9 bytes, sha256 "))
		Expect(differences(got.dir, known())).To(BeEmpty())
	})

	It("of a single case keep the run from being more than INCOMPLETE", func() {
		Expect(runSample("", nil, environment("GATE_CASE=tile 7")).report.Line).To(HaveSuffix("not a full run: only the case GATE_CASE=tile 7"))
	})

	It("that give the seed of the requests keep the run from being more than INCOMPLETE", func() {
		got := runSample("", nil, environment("GATE_SEED=7"))
		Expect(got.report.Verdict).To(Equal(verdict.Incomplete))
		Expect(got.report.Line).To(HaveSuffix("not a full run: requests that could be foreseen from GATE_SEED=7"))
		Expect(differences(got.dir, known())).To(BeEmpty())
	})

	It("that ask for the plan of specs run nothing and write it, which then has to agree", func() {
		file := filepath.Join(GinkgoT().TempDir(), "plan.txt")
		got := runSample("", nil, environment("GATE_PLAN="+file))
		Expect(got.exit).To(Equal(0), got.output)
		Expect(got.output).NotTo(ContainSubstring("Will run"))
		Expect(os.ReadFile(file)).To(BeEquivalentTo("\tHTTP-01\tsample answers\n\tHTTP-02\tsample answers twice\n\tKRN-01\tsample answers fast\n"))
	})

	DescribeTable("that cannot be used stop the gate before anything runs:",
		func(setting, want string) {
			got := runSample("", nil, environment(setting))
			Expect(got.exit).To(Equal(1))
			Expect(got.output).To(ContainSubstring(want))
			Expect(got.output).NotTo(ContainSubstring("Will run"))
		},
		Entry("teeth", "GATE_TEETH=/nowhere", "read the outcome of the faults"),
		Entry("completeness", "GATE_REQUIRE_COMPLETE=perhaps", "GATE_REQUIRE_COMPLETE: want true or false"),
		Entry("redaction", "GATE_REDACT=perhaps", "GATE_REDACT: want true or false"),
		Entry("a signing key", "GATE_SIGNING_KEY=/nowhere/key.pem", "read the signing key"),
	)
})

var _ = Describe("In GitHub Actions", func() {
	It("adds the checklist to the job summary and annotates failures", func() {
		summary := filepath.Join(GinkgoT().TempDir(), "summary.md")
		Expect(os.WriteFile(summary, []byte("before\n"), 0o644)).To(Succeed())
		got := runSample("fails", nil, environment("GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY="+summary))
		text, err := os.ReadFile(summary)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(text)).To(HavePrefix("before\n# sample Sample FAIL\n"))
		Expect(got.output).To(MatchRegexp(`(?m)^::error title=HTTP-01 Answers%3A FAILED,file=reports/gate/testdata/sample/sample_test.go,line=\d+::the answer%0AExpected`))
	})
})
