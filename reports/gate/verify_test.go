package gate_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports"
	"touchstone/reports/attest"
	"touchstone/reports/verdict"
)

// keyPair writes a fresh ed25519 key pair in PEM and returns the private key's file and the public key.
func keyPair() (string, *attest.Key) {
	GinkgoHelper()
	public, private, err := ed25519.GenerateKey(nil)
	Expect(err).NotTo(HaveOccurred())
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	Expect(err).NotTo(HaveOccurred())
	publicDER, err := x509.MarshalPKIXPublicKey(public)
	Expect(err).NotTo(HaveOccurred())
	file := filepath.Join(GinkgoT().TempDir(), "key.pem")
	Expect(os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}), 0o600)).To(Succeed())
	key, err := attest.PublicKey(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}))
	Expect(err).NotTo(HaveOccurred())
	return file, key
}

func known() reports.VerifyOptions {
	GinkgoHelper()
	registry, err := os.ReadFile("testdata/sample/sample.yaml")
	Expect(err).NotTo(HaveOccurred())
	plan := []verdict.PlannedSpec{{Row: "HTTP-01", Text: "sample answers"}, {Row: "HTTP-02", Text: "sample answers twice"}, {Row: "KRN-01", Text: "sample answers fast"}}
	plans := verdict.Plans{"": plan}
	for tree, text := range map[string]string{"pending": "is pending", "programmatic focus": "is focused", "must pass repeatedly": "is repeated"} {
		plans[tree] = append(slices.Clone(plan), verdict.PlannedSpec{Row: "HTTP-01", Text: "sample " + text})
	}
	return reports.VerifyOptions{Gates: map[string]reports.Known{"sample": {Registry: registry, Plans: plans, SourcesSHA256: "5a5a"}}}
}

// withTeeth are the options of somebody who knows where the outcome of the faults was taken from.
func withTeeth(file string) reports.VerifyOptions {
	GinkgoHelper()
	text, err := os.ReadFile(file)
	Expect(err).NotTo(HaveOccurred())
	teeth, err := verdict.ReadTeeth(text)
	Expect(err).NotTo(HaveOccurred())
	options := known()
	sample := options.Gates["sample"]
	sample.Teeth = teeth
	options.Gates["sample"] = sample
	return options
}

func differences(dir string, options reports.VerifyOptions) []string {
	GinkgoHelper()
	verification, err := reports.Verify(dir, options)
	Expect(err).NotTo(HaveOccurred())
	return verification.Differences
}

func copyOf(dir string) string {
	GinkgoHelper()
	target := filepath.Join(GinkgoT().TempDir(), "copy")
	Expect(os.CopyFS(target, os.DirFS(dir))).To(Succeed())
	return target
}

// replace changes the first occurrence of old in one file of a report.
func replace(file, old, replacement string) func(dir string) {
	return func(dir string) {
		GinkgoHelper()
		path := filepath.Join(dir, file)
		content, err := os.ReadFile(path)
		Expect(err).NotTo(HaveOccurred())
		Expect(string(content)).To(ContainSubstring(old), file)
		Expect(os.WriteFile(path, bytes.Replace(content, []byte(old), []byte(replacement), 1), 0o644)).To(Succeed())
	}
}

// onlyFile returns the one evidence file of a row.
func onlyFile(dir, row string) string {
	GinkgoHelper()
	files, err := filepath.Glob(filepath.Join(dir, "evidence", row, "*"))
	Expect(err).NotTo(HaveOccurred())
	Expect(files).To(HaveLen(1))
	return files[0]
}

var _ = Describe("Verify accepts", func() {
	DescribeTable("an untouched report, wherever it lies, of",
		func(scenario string, arguments ...string) {
			for i, argument := range arguments {
				arguments[i] = strings.Replace(argument, "GINKGO", ginkgoBinary, 1)
			}
			got := runSample(scenario, arguments)
			Expect(differences(copyOf(got.dir), known())).To(BeEmpty())
		},
		Entry("a run that passes", ""),
		Entry("parallel processes", "", "GINKGO", "--procs=2"),
		Entry("a failing run", "fails"),
		Entry("a failing run in parallel processes", "fails", "GINKGO", "--procs=2"),
		Entry("a panic", "panics"),
		Entry("a setup that fails", "setup fails"),
		Entry("skipped specs", "all skipped"),
		Entry("a pending spec", "pending"),
		Entry("a filtered run", "", "-ginkgo.focus=twice"),
		Entry("a filtered run in parallel processes", "", "GINKGO", "--procs=2", "--focus=twice"),
		Entry("a focus in the code", "programmatic focus"),
		Entry("a dry run", "", "-ginkgo.dry-run"),
		Entry("a repeated run", "", "GINKGO", "--repeat=1"),
		Entry("a failure after the last spec", "late assertion", "-ginkgo.seed=2"),
	)

	It("a signed report, with its key", func() {
		file, public := keyPair()
		got := runSample("", nil, environment("GATE_SIGNING_KEY="+file))
		Expect(got.exit).To(Equal(0), got.output)
		options := known()
		options.Key = public
		Expect(differences(got.dir, options)).To(BeEmpty())
	})
})

var _ = Describe("Verify refuses", Ordered, ContinueOnFailure, func() {
	var passing, failing, focused, dry, retried, repeated, foreseen string
	BeforeAll(func() {
		passing, failing = runSample("", nil).dir, runSample("fails", nil).dir
		focused, dry = runSample("", []string{"-ginkgo.focus=twice"}).dir, runSample("", []string{"-ginkgo.dry-run"}).dir
		foreseen = runSample("", nil, environment("GATE_SEED=7")).dir
		retried, repeated = runSample("must pass repeatedly", nil).dir, runSample("", []string{ginkgoBinary, "--repeat=1"}).dir
	})

	DescribeTable("a doctored report:",
		func(original *string, tamper func(dir string), want string) {
			dir := copyOf(*original)
			tamper(dir)
			refused := differences(dir, known())
			Expect(refused).To(ContainElement(ContainSubstring(want)))
			for _, difference := range refused {
				if strings.Contains(difference, want) {
					GinkgoWriter.Printf("%s: %s\n", CurrentSpecReport().LeafNodeText, difference)
				}
			}
		},
		Entry("a row's state flipped", &failing, replace("report.json", `"state": "FAILED"`, `"state": "PASSED"`),
			`report.json: rows[HTTP-01].state: the report says "PASSED", the evidence gives "FAILED"`),
		Entry("a spec's state flipped in the raw truth", &failing, replace("ginkgo.json", `"State": "failed"`, `"State": "passed"`),
			"report.json: rows[HTTP-01].state:"),
		Entry("the verdict raised", &failing, replace("report.json", `"verdict": "FAIL"`, `"verdict": "PASS"`),
			`report.json: verdict: the report says "PASS", the evidence gives "FAIL"`),
		Entry("a row dropped from the registry", &passing, func(dir string) {
			registry := string(known().Gates["sample"].Registry)
			lines := strings.SplitAfter(registry, "\n")
			replace("registry.yaml", lines[5], "")(dir)
		}, "registry.yaml: it is not the registry of this harness"),
		Entry("a row dropped from the report", &passing, func(dir string) {
			var document map[string]any
			content, err := os.ReadFile(filepath.Join(dir, "report.json"))
			Expect(err).NotTo(HaveOccurred())
			Expect(json.Unmarshal(content, &document)).To(Succeed())
			document["rows"] = document["rows"].([]any)[:2]
			content, err = json.Marshal(document)
			Expect(err).NotTo(HaveOccurred())
			Expect(os.WriteFile(filepath.Join(dir, "report.json"), content, 0o644)).To(Succeed())
		},
			"report.json: rows[KRN-01]: it is missing"),
		Entry("a spec dropped from the raw truth", &passing, func(dir string) {
			replace("ginkgo.json", `"LeafNodeType": "It"`, `"LeafNodeType": "BeforeEach"`)(dir)
		}, "ginkgo.json: it has 2 specs, but the suite counted 3 before it ran"),
		Entry("a spec added to the raw truth", &passing, replace("ginkgo.json", `"LeafNodeText": "answers fast"`, `"LeafNodeText": "answers faster"`),
			`spec "sample answers faster" of KRN-01 is not in the tree that run.json recorded`),
		Entry("an observation dropped", &passing, replace("ginkgo.json", `"Name": "evidence/v1 observation answer"`, `"Name": "note"`),
			".evidence["),
		Entry("a figure improved", &passing, replace("ginkgo.json", `\"name\":\"time\",\"value\":3`, `\"name\":\"time\",\"value\":1`),
			"rows[KRN-01].specs[sample answers fast].evidence[time].value: the report says 3, the evidence gives 1"),
		Entry("a transcript edited", &passing, func(dir string) {
			file := onlyFile(dir, "HTTP-01")
			replace(strings.TrimPrefix(file, dir), `"atMs": 4`, `"atMs": 3`)(dir)
		}, "its content has the sha256"),
		Entry("a transcript removed", &passing, func(dir string) { Expect(os.Remove(onlyFile(dir, "HTTP-01"))).To(Succeed()) },
			`it is missing, but spec "sample answers" recorded it as "ask"`),
		Entry("evidence added", &passing, func(dir string) {
			Expect(os.WriteFile(filepath.Join(dir, "evidence", "HTTP-01", "more.txt"), nil, 0o644)).To(Succeed())
		}, "evidence/HTTP-01/more.txt: no spec recorded it"),
		Entry("the subject swapped in the report", &passing, replace("report.json", `"device": "cpu"`, `"device": "NVIDIA H200"`),
			`report.json: subject.device: the report says "NVIDIA H200", the evidence gives "cpu"`),
		Entry("the subject swapped in the truth", &passing, replace("run.json", `"device": "cpu"`, `"device": "NVIDIA H200"`),
			"run.json: sha256"),
		Entry("a claim passed off as shown", &passing, replace("report.json", `"device": false`, `"device": true`), "report.json: subject.shown.device:"),
		Entry("a count changed", &failing, replace("report.json", `"passed": 2`, `"passed": 3`),
			"report.json: counts.passed: the report says 3, the evidence gives 2"),
		Entry("an older run replayed", &passing, func(dir string) {
			older, err := os.ReadFile(filepath.Join(runSample("", nil).dir, "ginkgo.json"))
			Expect(err).NotTo(HaveOccurred())
			Expect(os.WriteFile(filepath.Join(dir, "ginkgo.json"), older, 0o644)).To(Succeed())
		}, "report.json: started: the report says"),
		Entry("a spec of an older run replayed", &passing, func(dir string) {
			content, err := os.ReadFile(filepath.Join(dir, "ginkgo.json"))
			Expect(err).NotTo(HaveOccurred())
			spec := bytes.Index(content, []byte(`"LeafNodeText": "answers fast"`))
			year := spec + bytes.Index(content[spec:], []byte(`"StartTime": "2`)) + len(`"StartTime": "`)
			copy(content[year:], "1999")
			Expect(os.WriteFile(filepath.Join(dir, "ginkgo.json"), content, 0o644)).To(Succeed())
		}, "outside of the run"),
		Entry("a filter hidden", &focused, func(dir string) {
			replace("ginkgo.json", "\"FocusStrings\": [\n        \"twice\"\n      ]", `"FocusStrings": []`)(dir)
		}, "1 of 3 specs were selected to run, but no filter, focus or pending spec says why"),
		Entry("a dry run hidden", &dry, replace("ginkgo.json", `"DryRun": true`, `"DryRun": false`), "passed without having been run: that is a dry run"),
		Entry("a retry hidden", &retried, func(dir string) {
			replace("report.json", "\"restrictions\": [\n    \"specs run more than once\"\n  ]", `"restrictions": []`)(dir)
			replace("report.json", `"verdict": "INCOMPLETE"`, `"verdict": "PASS"`)(dir)
		}, `report.json: restrictions[0]: it is missing, the evidence gives "specs run more than once"`),
		Entry("a repetition hidden", &repeated, replace("run.json", `"repeated": "--repeat=1",`, ""),
			`report.json: verdict: the report says "INCOMPLETE", the evidence gives "PASS"`),
		Entry("a given seed hidden", &foreseen, replace("run.json", `"givenSeed": "7",`, ""),
			`report.json: verdict: the report says "INCOMPLETE", the evidence gives "PASS"`),
		Entry("teeth claimed", &passing, replace("run.json", `"plan"`, `"teeth": {"sourcesSha256": "5a5a", "rows": {}}, "plan"`), "report.json: teethMeasured"),
		Entry("the checklist edited", &failing, replace("checklist.md", "FAILED", "PASSED"), "checklist.md: line"),
		Entry("the JUnit file edited", &failing, replace("junit.xml", "<failure", "<skipped"), "junit.xml: line"),
		Entry("the page edited", &failing, replace("report.html", "<span>FAIL 2/3</span>", "<span>PASS 3/3</span>"), "report.html: line"),
		Entry("the attestation edited", &failing, replace("attestation.json", `"result": "FAILED"`, `"result": "PASSED"`),
			`attestation.json: predicate.result: the report says "PASSED", the evidence gives "FAILED"`),
		Entry("another harness version", &passing, replace("run.json", `"harnessVersion": "1.0.0"`, `"harnessVersion": "0.9.0"`),
			`the report was made by harness "0.9.0"`),
		Entry("an unknown setting", &passing, replace("run.json", `"plan"`, `"forgive": true, "plan"`), `unknown field "forgive"`),
		Entry("a file too few", &passing, func(dir string) { Expect(os.Remove(filepath.Join(dir, "report.json"))).To(Succeed()) },
			"not a whole report: report.json is missing"),
		Entry("a file too many", &passing, func(dir string) {
			Expect(os.WriteFile(filepath.Join(dir, "note.txt"), nil, 0o644)).To(Succeed())
		}, "note.txt: it does not belong to a report"),
		Entry("a truncated truth", &passing, func(dir string) {
			Expect(os.Truncate(filepath.Join(dir, "ginkgo.json"), 1000)).To(Succeed())
		}, "ginkgo.json is not a Ginkgo report"),
	)

	It("a gate this harness does not have", func() {
		Expect(differences(passing, reports.VerifyOptions{})).To(ContainElement(ContainSubstring(`this harness has no gate "sample"`)))
	})

	It("another worker, another model and an older run than expected", func() {
		options := known()
		options.WorkerSHA256, options.ModelSHA256, options.NotBefore = strings.Repeat("a", 64), strings.Repeat("b", 64), time.Now().Add(time.Hour)
		Expect(differences(passing, options)).To(ContainElements(ContainSubstring("another worker was tested"),
			ContainSubstring("another model was used"), ContainSubstring("the run is too old")))
	})

	Context("where the signature decides", func() {
		It("a missing or foreign signature", func() {
			file, public := keyPair()
			_, stranger := keyPair()
			options := known()
			options.Key = public
			Expect(differences(passing, options)).To(ContainElement(ContainSubstring("it is not signed, but a key was given")))
			signed := runSample("", nil, environment("GATE_SIGNING_KEY="+file)).dir
			options.Key = stranger
			Expect(differences(signed, options)).To(ContainElement(ContainSubstring("its signature is not by the given key")))
		})

		It("a report that was computed again, without a contradiction, from a doctored truth", func() {
			file, public := keyPair()
			dir := runSample("fails", nil, environment("GATE_SIGNING_KEY="+file)).dir
			forged, err := reports.Read(dir)
			Expect(err).NotTo(HaveOccurred())
			forged.Options.Subject.Device = "NVIDIA H200"
			again, err := reports.New(forged.RegistryYAML, forged.Ginkgo, forged.Options)
			Expect(err).NotTo(HaveOccurred())
			again.Evidence = forged.Evidence
			Expect(reports.Write(dir, again)).To(Succeed())
			Expect(differences(dir, known())).To(BeEmpty(), "without a key only contradictions are found")
			options := known()
			options.Key = public
			Expect(differences(dir, options)).To(ContainElement(ContainSubstring("it is not signed")))
		})

		It("a signed statement of another report", func() {
			file, public := keyPair()
			first, second := runSample("", nil, environment("GATE_SIGNING_KEY="+file)).dir, runSample("fails", nil, environment("GATE_SIGNING_KEY="+file)).dir
			statement, err := os.ReadFile(filepath.Join(first, "attestation.json"))
			Expect(err).NotTo(HaveOccurred())
			Expect(os.WriteFile(filepath.Join(second, "attestation.json"), statement, 0o644)).To(Succeed())
			options := known()
			options.Key = public
			Expect(differences(second, options)).To(ContainElement(And(ContainSubstring("ginkgo.json: sha256"), ContainSubstring("vouches for"))))
		})
	})
})
