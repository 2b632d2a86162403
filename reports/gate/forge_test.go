package gate_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"touchstone/reports"
	"touchstone/reports/verdict"
)

// forge changes the truths of a report and computes everything else in it again, as somebody would who has the harness: what
// comes of it does not contradict itself.
func forge(change func(*types.Report, *verdict.Options)) func(dir string) {
	return func(dir string) {
		GinkgoHelper()
		report, err := reports.Read(dir)
		Expect(err).NotTo(HaveOccurred())
		change(&report.Ginkgo, &report.Options)
		again, err := reports.New(report.RegistryYAML, report.Ginkgo, report.Options)
		Expect(err).NotTo(HaveOccurred())
		again.Evidence = report.Evidence
		Expect(reports.Write(dir, again)).To(Succeed())
	}
}

// specNamed finds a spec of a run by its text.
func specNamed(ginkgo *types.Report, text string) *types.SpecReport {
	GinkgoHelper()
	at := slices.IndexFunc(ginkgo.SpecReports, func(s types.SpecReport) bool { return s.LeafNodeText == text })
	Expect(at).To(BeNumerically(">=", 0), text)
	return &ginkgo.SpecReports[at]
}

// plannedSpec finds a spec of the plan by its text.
func plannedSpec(options *verdict.Options, text string) *verdict.PlannedSpec {
	GinkgoHelper()
	at := slices.IndexFunc(options.Plan, func(s verdict.PlannedSpec) bool { return s.Text == "sample "+text })
	Expect(at).To(BeNumerically(">=", 0), text)
	return &options.Plan[at]
}

func relabel(to string) func(dir string) {
	return forge(func(ginkgo *types.Report, options *verdict.Options) {
		specNamed(ginkgo, "answers").LeafNodeLabels = []string{to}
		plannedSpec(options, "answers").Row = to
	})
}

func shiftYears(years int) func(dir string) {
	return forge(func(ginkgo *types.Report, _ *verdict.Options) {
		ginkgo.StartTime, ginkgo.EndTime = ginkgo.StartTime.AddDate(years, 0, 0), ginkgo.EndTime.AddDate(years, 0, 0)
		for i := range ginkgo.SpecReports {
			spec := &ginkgo.SpecReports[i]
			spec.StartTime, spec.EndTime = spec.StartTime.AddDate(years, 0, 0), spec.EndTime.AddDate(years, 0, 0)
		}
	})
}

// replaceKernelError puts another fraction of the bound into what a spec recorded.
func replaceKernelError(fraction string) func(dir string) {
	return func(dir string) {
		GinkgoHelper()
		replace("ginkgo.json", `\"worstFractionOfBound\":0.25`, `\"worstFractionOfBound\":`+fraction)(dir)
		forge(func(*types.Report, *verdict.Options) {})(dir)
	}
}

// signByHand makes an envelope around the statement of a report, with a signature that nobody's key made.
func signByHand(dir string) {
	GinkgoHelper()
	path := filepath.Join(dir, reports.AttestationFile)
	statement, err := os.ReadFile(path)
	Expect(err).NotTo(HaveOccurred())
	envelope, err := json.Marshal(map[string]any{
		"payloadType": "application/vnd.in-toto+json", "payload": base64.StdEncoding.EncodeToString(statement),
		"signatures": []map[string]string{{"keyid": "made-up", "sig": base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 64))}},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(os.WriteFile(path, envelope, 0o644)).To(Succeed())
}

func appendTo(file, text string) func(dir string) {
	return func(dir string) {
		GinkgoHelper()
		content, err := os.ReadFile(filepath.Join(dir, file))
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(filepath.Join(dir, file), append(content, text...), 0o644)).To(Succeed())
	}
}

var _ = Describe("Verify refuses, without any key,", Ordered, func() {
	var passing, failing string
	BeforeAll(func() { passing, failing = runSample("", nil).dir, runSample("fails", nil).dir })

	It("nothing of a report that was only computed again", func() {
		for _, original := range []string{passing, failing} {
			dir := copyOf(original)
			forge(func(*types.Report, *verdict.Options) {})(dir)
			Expect(differences(dir, known())).To(BeEmpty())
		}
	})

	DescribeTable("a forged report:",
		func(original *string, tamper func(dir string), want string) {
			dir := copyOf(*original)
			tamper(dir)
			Expect(differences(dir, known())).To(ContainElement(ContainSubstring(want)))
		},
		Entry("a failed spec relabelled to a row that weighs nothing", &failing, relabel("KRN-01"),
			`run.json: the spec "sample answers" of KRN-01 is not one of this harness`),
		Entry("a failed spec relabelled to a row that is not there", &failing, relabel("ZZ-01"),
			`ginkgo.json: spec "sample answers" names the requirement ZZ-01, which the registry does not have`),
		Entry("a failed spec without a row", &failing, relabel("fast"), `ginkgo.json: spec "sample answers" names 0 requirements, want one`),
		Entry("a failed spec dropped, and the plan and the counts with it", &failing, forge(func(ginkgo *types.Report, options *verdict.Options) {
			specNamed(ginkgo, "answers").LeafNodeType = types.NodeTypeBeforeEach
			options.Plan = slices.DeleteFunc(options.Plan, func(s verdict.PlannedSpec) bool { return s.Text == "sample answers" })
			ginkgo.PreRunStats.TotalSpecs, ginkgo.PreRunStats.SpecsThatWillRun = 2, 2
		}), `run.json: the spec "sample answers" of HTTP-01 is missing`),
		Entry("a tree of specs that the gate does not have", &passing, forge(func(_ *types.Report, options *verdict.Options) { options.Tree = "short" }),
			`run.json: this harness has no tree of specs "short"`),
		Entry("teeth made up", &passing, forge(func(_ *types.Report, options *verdict.Options) {
			options.Teeth = &verdict.Teeth{SourcesSHA256: options.SourcesSHA256, Rows: map[string]verdict.TeethRow{
				"HTTP-01": {Killed: []string{"no-answer"}}, "HTTP-02": {Killed: []string{"wrong-answer"}}, "KRN-01": {Killed: []string{"slow-answer"}}}}
		}), "run.json: the outcome of the faults is not that of this harness"),
		Entry("other sources", &passing, forge(func(_ *types.Report, options *verdict.Options) { options.SourcesSHA256 = "6b6b" }),
			"run.json: it was made by other specs, faults or registry than this harness has"),
		Entry("a date in 2099", &passing, shiftYears(73), "which is still to come"),
		Entry("a run that ends before it begins", &passing, forge(func(ginkgo *types.Report, _ *verdict.Options) {
			ginkgo.StartTime = ginkgo.EndTime.AddDate(0, 0, 1)
		}), "before it began"),
		Entry("a spec that ends before it begins", &passing, forge(func(ginkgo *types.Report, _ *verdict.Options) {
			spec := specNamed(ginkgo, "answers")
			spec.StartTime, spec.EndTime = ginkgo.EndTime, ginkgo.StartTime
		}), `ginkgo.json: spec "sample answers" ended at`),
		Entry("a kernel error beyond its bound in a spec that passed", &passing, replaceKernelError("1.25"), "passed with an error beyond its bound"),
		Entry("a kernel error that is no number in a spec that passed", &passing, replaceKernelError(`\"NaN\"`), "passed with an error beyond its bound"),
		Entry("a signature made by hand", &passing, signByHand, "attestation.json: it is signed, but no key was given to check that"),
		Entry("a key that stands twice in the run", &passing, replace("run.json", `"plan"`, `"tree": "", "Tree": "", "plan"`),
			`run.json: the key "Tree" stands twice`),
		Entry("a key that stands twice in the truth", &failing, replace("ginkgo.json", `"State": "failed"`, `"State": "failed", "state": "passed"`),
			`the key "state" stands twice`),
		Entry("a key that stands twice in the attestation", &passing, replace("attestation.json", `"predicate":`, `"predicate": {}, "predicate":`),
			`the key "predicate" stands twice`),
		Entry("something behind the run", &passing, appendTo("run.json", "{}"), "run.json: something follows the JSON value"),
		Entry("something behind the truth", &passing, appendTo("ginkgo.json", "[]"), "something follows the JSON value"),
		Entry("something behind the attestation", &passing, appendTo("attestation.json", "{}"), "something follows the JSON value"),
		Entry("an unknown field in the truth", &passing, replace("ginkgo.json", `"RunTime"`, `"Note": 1, "RunTime"`), `unknown field "Note"`),
		Entry("a manifest that hides a file", &passing, appendTo("touchstone-report.txt", "thesis.txt\n"), "touchstone-report.txt: line"),
	)

	It("shows nothing of a doctored report that a terminal would act on", func() {
		dir := copyOf(passing)
		replace("report.json", `"title": "Sample"`, `"title": "\u001b[31m\n::error::x"`)(dir)
		Expect(differences(dir, known())).To(HaveEach(And(Not(ContainSubstring("\x1b")), Not(ContainSubstring("\n")))))
	})
})

var _ = Describe("Verify refuses, with the right key,", Ordered, func() {
	var signed string
	var options reports.VerifyOptions
	BeforeAll(func() {
		file, public := keyPair()
		signed = runSample("", nil, environment("GATE_SIGNING_KEY="+file)).dir
		options = known()
		options.Key = public
		Expect(differences(signed, options)).To(BeEmpty())
	})

	DescribeTable("a doctored envelope:",
		func(tamper func(dir string), want string) {
			dir := copyOf(signed)
			tamper(dir)
			Expect(differences(dir, options)).To(ContainElement(ContainSubstring(want)))
		},
		Entry("a second payload before the signed one", replace("attestation.json", `"payload":`, `"payload": "e30=", "payload":`), `the key "payload" stands twice`),
		Entry("a second payload in another case", replace("attestation.json", `"payload":`, `"Payload": "e30=", "payload":`), `the key "payload" stands twice`),
		Entry("a second signature", replace("attestation.json", `"signatures": [`, `"signatures": [{"keyid": "x", "sig": "AAAA"},`), "it has 2 signatures, want one"),
		Entry("no signature", func(dir string) {
			replace("attestation.json", `"signatures": [`, `"signatures": [], "x": [`)(dir)
		}, `unknown field "x"`),
		Entry("a field beside them", replace("attestation.json", `"payload":`, `"note": "", "payload":`), `unknown field "note"`),
		Entry("a signature made by hand", func(dir string) {
			forge(func(*types.Report, *verdict.Options) {})(dir)
			signByHand(dir)
		}, "its signature is not by the given key"),
	)

	It("and without one, since a signature that nobody checks says nothing", func() {
		Expect(differences(signed, known())).To(ContainElement(ContainSubstring("no key was given to check that")))
	})
})
