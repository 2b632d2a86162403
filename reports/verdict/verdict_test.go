package verdict_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
)

func TestVerdict(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Verdict")
}

var ended = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// world is a run that passes; each test spoils one thing.
type world struct {
	registry requirement.Registry
	report   types.Report
	options  verdict.Options
}

func newWorld() *world {
	w := &world{}
	for _, id := range []string{"A-01", "B-01"} {
		w.registry.Rows = append(w.registry.Rows, requirement.Row{ID: id, Layer: id[:1], Title: "title", Level: requirement.Must, Faults: []string{"f1", "f2"}})
		w.options.Plan = append(w.options.Plan, verdict.PlannedSpec{Row: id, Text: "spec of " + id})
		w.report.SpecReports = append(w.report.SpecReports, types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: "spec of " + id,
			LeafNodeLabels: []string{id}, State: types.SpecStatePassed, NumAttempts: 1, RunTime: time.Second, ReportEntries: observation()})
	}
	w.report.SuiteSucceeded, w.report.EndTime = true, ended
	w.options.Subject = verdict.Subject{Worker: "w", WorkerVersion: "1", Device: "cpu", Model: "m", HarnessVersion: "1.0.0",
		Shown: verdict.Shown{WorkerVersion: true, Device: true, Model: true}}
	w.options.SourcesSHA256 = "s"
	return w
}

func observation() types.ReportEntries {
	var entries types.ReportEntries
	evidence.NewRecorder(func(entry evidence.Entry) {
		entries = append(entries, types.ReportEntry{Name: "evidence/v1 observation n", Value: types.WrapEntryValue(entry)})
	}).Observe("n", 1, "")
	return entries
}

func kernelError(fraction float64) types.ReportEntries {
	var entries types.ReportEntries
	evidence.NewRecorder(func(entry evidence.Entry) {
		entries = append(entries, types.ReportEntry{Name: "evidence/v1 kernel-error", Value: types.WrapEntryValue(entry)})
	}).KernelError("gemm", "f32", "avx2", 1, fraction, "row 0")
	return entries
}

// withParts is a spec that observed something, or nothing, and recorded parts that did not run.
func withParts(row string, observed bool, reasons ...string) types.SpecReport {
	spec := types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeLabels: []string{row}, State: types.SpecStatePassed, NumAttempts: 1}
	if observed {
		spec.ReportEntries = observation()
	}
	recorder := evidence.NewRecorder(func(entry evidence.Entry) {
		spec.ReportEntries = append(spec.ReportEntries, types.ReportEntry{Name: "evidence/v1 not-run part", Value: types.WrapEntryValue(entry)})
	})
	for _, reason := range reasons {
		recorder.NotRun("part", reason)
	}
	return spec
}

func hostileEntries(text string) types.ReportEntries {
	var entries types.ReportEntries
	recorder := evidence.NewRecorder(func(entry evidence.Entry) {
		entries = append(entries, types.ReportEntry{Name: "evidence/v1 " + text, Value: types.WrapEntryValue(entry)})
	})
	recorder.Observe(text, map[string]any{text: []string{text}}, text)
	recorder.NotRun(text, text)
	return entries
}

func (w *world) spec(i int) *types.SpecReport { return &w.report.SpecReports[i] }

func (w *world) fail(i int, state types.SpecState, message string) {
	w.spec(i).State, w.spec(i).Failure, w.report.SuiteSucceeded = state, types.Failure{Message: message}, false
}

func (w *world) skip(i int, reason string) {
	w.spec(i).State, w.spec(i).Failure, w.spec(i).ReportEntries = types.SpecStateSkipped, types.Failure{Message: reason}, nil
}

func (w *world) add(spec types.SpecReport) { w.report.SpecReports = append(w.report.SpecReports, spec) }

func (w *world) waive(expires string) {
	w.registry.Rows[0].Waiver = &requirement.Waiver{Owner: "Kim", Reason: "no device", Expires: expires}
}

var _ = DescribeTable("The state of a row",
	func(change func(*world), want verdict.State, reason string) {
		w := newWorld()
		change(w)
		row := verdict.Compute(&w.registry, w.report, w.options).Rows[0]
		Expect(row.State).To(Equal(want))
		if reason != "" {
			Expect(row.Reasons).To(ContainElement(ContainSubstring(reason)))
		}
	},
	Entry("passed with an observation", func(*world) {}, verdict.Passed, ""),
	Entry("passed without one", func(w *world) { w.spec(0).ReportEntries = nil }, verdict.Inconclusive, "passed without observing anything"),
	Entry("passed with an entry of somebody else", func(w *world) {
		w.spec(0).ReportEntries = types.ReportEntries{{Name: "note", Value: types.WrapEntryValue(1)}}
	}, verdict.Inconclusive, "passed without observing anything"),
	Entry("passed with evidence that cannot be read", func(w *world) {
		w.spec(0).ReportEntries[0].Value = types.ReportEntryValue{AsJSON: "{"}
	}, verdict.Inconclusive, "cannot be read"),
	Entry("failed", func(w *world) { w.fail(0, types.SpecStateFailed, "no") }, verdict.Failed, "failed: no"),
	Entry("panicked", func(w *world) { w.fail(0, types.SpecStatePanicked, "boom") }, verdict.Failed, "panicked: boom"),
	Entry("timed out", func(w *world) { w.fail(0, types.SpecStateTimedout, "slow") }, verdict.Failed, "timedout: slow"),
	Entry("interrupted", func(w *world) { w.fail(0, types.SpecStateInterrupted, "^C") }, verdict.Failed, "interrupted: ^C"),
	Entry("aborted", func(w *world) { w.fail(0, types.SpecStateAborted, "stop") }, verdict.Failed, "aborted: stop"),
	Entry("skipped", func(w *world) { w.skip(0, "needs a CUDA device") }, verdict.NotRun, "needs a CUDA device"),
	Entry("pending", func(w *world) { w.spec(0).State = types.SpecStatePending }, verdict.NotRun, "pending"),
	Entry("in no known state", func(w *world) { w.spec(0).State = types.SpecStateInvalid }, verdict.Inconclusive, "ended in the state"),
	Entry("vanished", func(w *world) { w.report.SpecReports = w.report.SpecReports[1:] }, verdict.Inconclusive, "the spec vanished"),
	Entry("never planned", func(w *world) { w.report.SpecReports, w.options.Plan = nil, nil }, verdict.Inconclusive, "the row vanished"),
	Entry("one spec passed, one was skipped", func(w *world) {
		w.add(types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeLabels: []string{"A-01"}, State: types.SpecStateSkipped,
			Failure: types.Failure{Message: "no device"}})
	}, verdict.NotRun, "no device"),
	Entry("one spec passed, one of the plan vanished", func(w *world) {
		w.options.Plan = append(w.options.Plan, w.options.Plan[0])
	}, verdict.Inconclusive, "the spec vanished"),
	Entry("one spec skipped, one failed", func(w *world) {
		w.skip(0, "no device")
		w.add(types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeLabels: []string{"A-01"}, State: types.SpecStateFailed})
	}, verdict.Failed, ""),
	Entry("dry run", func(w *world) { w.report.SuiteConfig.DryRun = true }, verdict.NotRun, "dry run"),
	Entry("no fault turns it red", func(w *world) {
		w.options.Teeth = &verdict.Teeth{SourcesSHA256: "s", Rows: map[string]verdict.TeethRow{"A-01": {Survived: []string{"f1"}}}}
	}, verdict.Unproven, "no fault has been shown"),
	Entry("a fault turns it red", func(w *world) {
		w.options.Teeth = &verdict.Teeth{SourcesSHA256: "s", Rows: map[string]verdict.TeethRow{"A-01": {Killed: []string{"f1"}}}}
	}, verdict.Passed, ""),
	Entry("a fault of another row turns it red", func(w *world) {
		w.options.Teeth = &verdict.Teeth{SourcesSHA256: "s", Rows: map[string]verdict.TeethRow{"A-01": {Killed: []string{"stray"}}}}
	}, verdict.Unproven, "no fault has been shown"),
	Entry("teeth of other sources", func(w *world) {
		w.options.Teeth = &verdict.Teeth{SourcesSHA256: "t"}
	}, verdict.Passed, ""),
	Entry("passed with an error beyond its bound", func(w *world) { w.spec(0).ReportEntries = kernelError(1.5) }, verdict.Inconclusive, "beyond its bound"),
	Entry("passed with an error that is no number", func(w *world) { w.spec(0).ReportEntries = kernelError(math.NaN()) }, verdict.Inconclusive, "beyond its bound"),
	Entry("passed with an error at its bound", func(w *world) { w.spec(0).ReportEntries = kernelError(1) }, verdict.Passed, ""),
	Entry("waived and passing", func(w *world) { w.waive("2026-02-01") }, verdict.Failed, "remove the waiver"),
	Entry("waived until yesterday", func(w *world) { w.waive("2026-01-30"); w.fail(0, types.SpecStateFailed, "no") }, verdict.Failed, "expired on 2026-01-30"),
)

var _ = DescribeTable("The verdict",
	func(change func(*world), want verdict.Verdict, exit int, line string) {
		w := newWorld()
		change(w)
		result := verdict.Compute(&w.registry, w.report, w.options)
		Expect(result.Verdict).To(Equal(want))
		Expect(result.ExitCode).To(Equal(exit))
		Expect(result.Line).To(HavePrefix(string(want) + " "))
		Expect(result.Line).To(ContainSubstring("worker w 1 · device cpu · model m"))
		Expect(result.Line).To(ContainSubstring(line))
	},
	Entry("all passed", func(*world) {}, verdict.Pass, 0, "PASS 2/2"),
	Entry("on a simulated device", func(w *world) { w.options.Subject.Simulated = true }, verdict.Pass, 0, "CUDA layer on a simulated device"),
	Entry("a spec without a requirement", func(w *world) { w.spec(0).LeafNodeLabels = nil }, verdict.Fail, 1, "names no requirement"),
	Entry("a spec of an unknown requirement", func(w *world) {
		w.add(types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeLabels: []string{"Z-01"}, State: types.SpecStateFailed})
	}, verdict.Fail, 1, "the requirement Z-01, which the registry does not have"),
	Entry("one failed", func(w *world) { w.fail(0, types.SpecStateFailed, "no") }, verdict.Fail, 1, "FAIL 1/2"),
	Entry("one inconclusive", func(w *world) { w.spec(0).ReportEntries = nil }, verdict.Fail, 1, "1 inconclusive: A-01"),
	Entry("one not run", func(w *world) { w.skip(0, "no CUDA device") }, verdict.Incomplete, 0, "1 not run: no CUDA device"),
	Entry("one not run, completeness required", func(w *world) { w.skip(0, "x"); w.options.RequireComplete = true }, verdict.Incomplete, 1, "1/2"),
	Entry("nothing ran", func(w *world) { w.skip(0, "x"); w.skip(1, "x") }, verdict.Incomplete, 1, "2 not run: x"),
	Entry("one not run and one failed", func(w *world) { w.skip(0, "x"); w.fail(1, types.SpecStateFailed, "no") }, verdict.Fail, 1, "1 failed: B-01"),
	Entry("a SHOULD row failed", func(w *world) {
		w.registry.Rows[0].Level = requirement.Should
		w.fail(0, types.SpecStateFailed, "no")
	}, verdict.Pass, 0, "1 failed: A-01"),
	Entry("unproven", func(w *world) { w.options.Teeth = &verdict.Teeth{SourcesSHA256: "s"} }, verdict.Incomplete, 0, "2 unproven"),
	Entry("a waived failure", func(w *world) { w.waive("2026-01-31"); w.fail(0, types.SpecStateFailed, "no") }, verdict.Incomplete, 0, "1 waived: A-01"),
	Entry("retried specs", func(w *world) { w.spec(0).MaxFlakeAttempts, w.spec(0).NumAttempts = 3, 2 }, verdict.Incomplete, 0, "specs with FlakeAttempts"),
	Entry("repeated", func(w *world) { w.options.Repeated = "--repeat=2" }, verdict.Incomplete, 0, "not a full run: repeated with --repeat=2"),
	Entry("one case only", func(w *world) { w.options.Case = "tile 7" }, verdict.Incomplete, 0, "not a full run: only the case GATE_CASE=tile 7"),
	Entry("a seed that was given", func(w *world) { w.options.GivenSeed = "7" }, verdict.Incomplete, 0,
		"not a full run: requests that could be foreseen from GATE_SEED=7"),
	Entry("a subject that could not be told", func(w *world) { w.options.SubjectProblem = "no worker" }, verdict.Fail, 1, "it is not known what was tested"),
	Entry("a focused file", func(w *world) { w.report.SuiteConfig.FocusFiles = []string{"x"} }, verdict.Incomplete, 0, "--focus-file=x"),
	Entry("a skipped file", func(w *world) { w.report.SuiteConfig.SkipFiles = []string{"x"} }, verdict.Incomplete, 0, "--skip-file=x"),
	Entry("a version filter", func(w *world) { w.report.SuiteConfig.SemVerFilter = "1.0" }, verdict.Incomplete, 0, "--sem-ver-filter=1.0"),
	Entry("an interrupted suite", func(w *world) {
		w.report.SuiteSucceeded, w.report.SpecialSuiteFailureReasons = false, []string{"Interrupted by User"}
	}, verdict.Fail, 1, "Interrupted by User"),
	Entry("a suite that failed for no known reason", func(w *world) { w.report.SuiteSucceeded = false }, verdict.Fail, 1, "no spec says why"),
	Entry("a failure after the last spec", func(w *world) { w.options.FailedLate = true }, verdict.Fail, 1, "outlived its spec"),
)

var _ = Describe("A result", func() {
	It("does not depend on the order in which specs finished", func() {
		w := newWorld()
		w.add(types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: "another", LeafNodeLabels: []string{"A-01"}, State: types.SpecStatePassed})
		forward := verdict.Compute(&w.registry, w.report, w.options)
		s := w.report.SpecReports
		s[0], s[2] = s[2], s[0]
		Expect(verdict.Compute(&w.registry, w.report, w.options)).To(Equal(forward))
	})

	It("tells how to run a spec again, with the gate's own settings and the one case that failed", func() {
		w := newWorld()
		w.options.Rerun = "gate run x --focus={focus} --url http://me:pass@host --api-key sk-1"
		w.fail(0, types.SpecStateFailed, verdict.WithRerun("expected: 1\ngot: 2\ncase: one's", w.options, "spec of A-01"))
		specs := verdict.Compute(&w.registry, w.report, w.options).Rows
		Expect(specs[0].Specs[0].Rerun).To(Equal(
			`GATE_CASE='one'\''s' gate run x --focus='spec of A-01$' --url http://[hidden]@host --api-key [hidden]`))
		Expect(specs[0].Specs[0].Failure.Message).NotTo(ContainSubstring("gate run"), "the command has a place of its own")
		Expect(specs[1].Specs[0].Rerun).To(HavePrefix("gate run x --focus='spec of B-01$'"))
	})

	It("tells how much of a row did run that is not run as a whole", func() {
		w := newWorld()
		w.add(types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeLabels: []string{"A-01"}, State: types.SpecStateSkipped})
		w.skip(1, "no device")
		rows := verdict.Compute(&w.registry, w.report, w.options).Rows
		Expect(rows[0].Partly()).To(Equal("1 of 2 parts"))
		Expect(rows[1].Partly()).To(BeEmpty(), "nothing of it ran")
	})

	It("says which parts of a row that passed did not run, and what they need", func() {
		w := newWorld()
		w.add(withParts("A-01", true, "needs a CUDA device", "needs a CUDA device"))
		w.add(withParts("A-01", false, "needs a CUDA device"))
		result := verdict.Compute(&w.registry, w.report, w.options)
		Expect(result.Rows[0].State).To(Equal(verdict.Passed))
		Expect(result.Rows[0].Partly()).To(Equal("2 of 5 parts · 3 need a CUDA device"))
		Expect(result.Rows[1].Partly()).To(BeEmpty(), "it is whole")
		Expect(result.Line).To(Equal("PASS 2/2 · worker w 1 · device cpu · model m · 3 parts need a CUDA device"))
	})

	It("does not call a row green of which only missing parts were recorded", func() {
		w := newWorld()
		w.report.SpecReports[0] = withParts("A-01", false, "needs a CUDA device")
		w.report.SpecReports[0].LeafNodeText = "spec of A-01"
		result := verdict.Compute(&w.registry, w.report, w.options)
		Expect(result.Rows[0].State).To(Equal(verdict.NotRun))
		Expect(result.Line).To(HavePrefix("INCOMPLETE 1/2"))
		Expect(result.Line).To(ContainSubstring("1 not run: needs a CUDA device"))
	})

	It("marks what the worker only claims, so that no claim passes for a fact", func() {
		w := newWorld()
		w.options.Subject.Shown = verdict.Shown{}
		w.options.Subject.Device, w.options.Subject.WorkerSHA256 = "NVIDIA H200 · PASS 9/9 (sha256 0)\n::error::", strings.Repeat("a", 64)
		w.options.Subject.ModelSHA256 = strings.Repeat("b", 64)
		w.options.Subject.NativeLibrary, w.options.Subject.NativeLibrarySHA256 = "/lib/x.so", strings.Repeat("c", 64)
		w.options.Subject.CUDADevice = "NVIDIA H200"
		Expect(verdict.Compute(&w.registry, w.report, w.options).Line).To(Equal(`PASS 2/2 · worker w (sha256 aaaaaaaaaaaa), version "1" (claimed) · ` +
			`device "NVIDIA H200 • PASS 9/9 (sha256 0) : :error::" (claimed) · model "m" (claimed) (sha256 bbbbbbbbbbbb) · native library /lib/x.so (sha256 cccccccccccc) · ` +
			`CUDA layer on "NVIDIA H200" (claimed)`))
		w.options.Subject.Shown = verdict.Shown{WorkerVersion: true, Device: true, CUDADevice: true, Model: true}
		Expect(verdict.Compute(&w.registry, w.report, w.options).Line).NotTo(ContainSubstring("claimed"))
	})

	It("says why a run failed before anything was known", func() {
		w := newWorld()
		w.options.Subject = verdict.Subject{Worker: "http://host", Problem: "connection refused"}
		w.report.SpecReports = append(w.report.SpecReports, types.SpecReport{LeafNodeType: types.NodeTypeBeforeSuite, State: types.SpecStateFailed,
			Failure: types.Failure{Message: "Unexpected error:\n    <*target.Diagnosis | 0xc000123>: \n    UNHEALTHY: GET /health answers 401\n    {Port: 1}\noccurred"}})
		w.report.SuiteSucceeded = false
		Expect(verdict.Compute(&w.registry, w.report, w.options).Line).To(And(
			HavePrefix("FAIL 2/2 · worker http://host, which told nothing of itself: connection refused · device unknown"),
			ContainSubstring("BeforeSuite failed: UNHEALTHY: GET /health answers 401")))
	})

	It("holds nothing that a terminal or a CI service would act on", func() {
		const hostile = "\x1b[31m\n::stop-commands::x\r##[error]"
		w := newWorld()
		w.options.Subject.Worker, w.options.Subject.Capabilities = hostile, hostile
		w.fail(0, types.SpecStateFailed, hostile)
		w.spec(1).ReportEntries = hostileEntries(hostile)
		encoded, err := json.Marshal(verdict.Compute(&w.registry, w.report, w.options))
		Expect(err).NotTo(HaveOccurred())
		Expect(string(encoded)).To(ContainSubstring("stop-commands"))
		for _, forbidden := range []string{`\u001b`, `\r`, "##[", `\n::`, `"::`} {
			Expect(string(encoded)).NotTo(ContainSubstring(forbidden))
		}
	})

	It("names the OpenAI API, and counts no teeth that were shown without it", func() {
		w := newWorld()
		w.options.Subject.Dialect = "openai"
		w.options.Teeth = &verdict.Teeth{SourcesSHA256: "s"}
		result := verdict.Compute(&w.registry, w.report, w.options)
		Expect(result.Line).To(Equal("PASS 2/2 · worker w 1 over the OpenAI API · device cpu · model m"))
		Expect(result.TeethMeasured).To(BeFalse())
	})

	It("names the subject as unknown rather than leaving it out", func() {
		w := newWorld()
		w.options.Subject = verdict.Subject{}
		Expect(verdict.Compute(&w.registry, w.report, w.options).Line).To(Equal("PASS 2/2 · worker unknown · device unknown · model unknown"))
	})
})

var _ = Describe("ReadTeeth", func() {
	It("reads what the faults showed", func() {
		teeth, err := verdict.ReadTeeth([]byte(`{"sourcesSha256": "s", "rows": {"A-01": {"killed": ["f1"], "survived": ["f2"]}}}`))
		Expect(err).NotTo(HaveOccurred())
		Expect(teeth.Rows["A-01"].Survived).To(Equal([]string{"f2"}))
	})

	DescribeTable("refuses",
		func(text, want string) {
			_, err := verdict.ReadTeeth([]byte(text))
			Expect(err).To(MatchError(ContainSubstring(want)))
		},
		Entry("no JSON", "rows", "invalid character"),
		Entry("no sources", `{"rows": {}}`, "sourcesSha256 is missing"),
		Entry("an unknown field", `{"sourcesSha256": "s", "row": {}}`, `unknown field "row"`),
		Entry("a row that stands twice", `{"sourcesSha256": "s", "rows": {"A-01": {}, "A-01": {}}}`, `the key "A-01" stands twice`),
	)
})

var _ = DescribeTable("A failure is split into its sides",
	func(message, expected, got, divergence string) {
		w := newWorld()
		w.fail(0, types.SpecStateFailed, message)
		failure := verdict.Compute(&w.registry, w.report, w.options).Rows[0].Specs[0].Failure
		Expect([]string{failure.Expected, failure.Got, failure.Divergence}).To(Equal([]string{expected, got, divergence}))
	},
	Entry("of the harness's matchers", "tokens differ\nexpected: [1 2 3]\ngot: [1 9 3]\nfirst divergence: index 1", "[1 2 3]", "[1 9 3]", "index 1"),
	Entry("of Gomega", "the answer\nExpected\n    <int>: 41\nto equal\n    <int>: 42", "to equal <int>: 42", "<int>: 41", ""),
	Entry("of Gomega without a second side", "Expected\n    <bool>: false\nto be true", "to be true", "<bool>: false", ""),
	Entry("of a plain error", errors.New("no worker").Error(), "", "", ""),
)
