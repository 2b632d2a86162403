// Package gate runs a gate: it checks the tree against the registry, runs the specs, gives the verdict
// and writes the report. A gate's suite file needs nothing else:
//
//	func TestGate1(t *testing.T) {
//		gate.Run(t, gate.Gate{Registry: gate1.Registry, Rerun: gate.GinkgoRerun("./gates/gate1"), Subject: subject})
//	}
package gate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	"github.com/onsi/gomega"

	"touchstone/reports"
	"touchstone/reports/attest"
	"touchstone/reports/harmless"
	"touchstone/reports/requirement"
	"touchstone/reports/secret"
	"touchstone/reports/verdict"
)

// Gate is what a suite says about itself.
type Gate struct {
	// Registry is the YAML of the requirement registry.
	Registry []byte
	// Plans are the trees of specs that the gate has, and Tree is the name of the one that was built. A tree that is not as
	// the plan says runs nothing. Nil plans skip that comparison.
	Plans verdict.Plans
	Tree  string
	// Rerun is the command that runs the gate again with the same settings, with {focus} where it selects a spec; see GinkgoRerun.
	Rerun string
	// Subject tells what was tested. It is called once, after the specs, on parallel process 1, also
	// when the setup failed; what it cannot know it leaves empty.
	Subject func() verdict.Subject
	// Configured names the subject as it was given, for runs that end before the subject is known.
	Configured string
	// Secrets are keys and passwords that the run was given. None of them gets into a report or a message of a failure, nor
	// does what Rerun and Configured name as secret.
	Secrets []string
	// ReportDir is where the report goes. The environment variable GATE_REPORT_DIR wins over it.
	ReportDir string
	// RequireComplete makes INCOMPLETE exit 1, as GATE_REQUIRE_COMPLETE=true does.
	RequireComplete bool
	// SigningKey is a file with a private ed25519 key in PEM. The environment variable GATE_SIGNING_KEY
	// wins over it; without either the attestation is not signed.
	SigningKey string
	// Redact replaces the texts in evidence by their lengths and hashes, as GATE_REDACT=true does.
	// Messages of failures stay: they quote what differed.
	Redact bool
	// SourcesSHA256 is the digest of the specs, faults and registry, to which teeth are bound; see verdict.SourcesDigest.
	SourcesSHA256 string
	// Teeth is the outcome of playing the faults, as verdict.ReadTeeth reads it. The file that GATE_TEETH names wins over
	// it; without either, or where they were measured with other sources, teeth are not measured.
	Teeth []byte
}

// TB is what runs a gate: a test, or a program that exits after Fatal and with a failure after Error.
type TB interface {
	Helper()
	Error(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// Run runs the gate as the test t and ends it according to the verdict: it fails for FAIL, for
// INCOMPLETE where completeness is required, and when the report could not be written. Flags and specs
// must be registered before it is called; it calls RunSpecs itself.
func Run(t TB, g Gate) {
	t.Helper()
	registry, err := requirement.Load(g.Registry)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.applyEnvironment(); err != nil {
		t.Fatal(err)
	}
	g.Secrets = append(slices.Clone(g.Secrets), secret.Named(g.Rerun+" "+g.Configured)...)
	gomega.RegisterFailHandler(g.fail)
	defer registry.Select()()
	description := registry.Gate + " " + registry.Title
	tree := ginkgo.PreviewSpecs(description).SpecReports
	if err := registry.CheckTree(tree); err != nil {
		t.Fatalf("nothing was run: the specs do not match the registry %s:\n%v", registry.Gate, err)
	}
	planned := plan(tree)
	if file := os.Getenv("GATE_PLAN"); file != "" {
		if err := g.writePlan(file, planned); err != nil {
			t.Fatal(err)
		}
		return
	}
	if g.Plans != nil {
		if err := g.Plans.Compare(g.Tree, planned); err != nil {
			t.Fatalf("nothing was run: the specs are not those of the gate's plan; if that is meant, write it anew with GATE_PLAN=FILE:\n%v", err)
		}
	}
	suiteConfig, reporterConfig := ginkgo.GinkgoConfiguration()
	suiteConfig.RandomizeAllSpecs = true
	key, err := g.signingKey()
	if err != nil {
		t.Fatal(err)
	}
	teeth, err := g.teeth()
	if err != nil {
		t.Fatal(err)
	}
	run := &run{gate: g, key: key, teeth: teeth, plan: planned, parallel: suiteConfig.ParallelTotal > 1}
	first := suiteConfig.ParallelProcess == 1
	if first {
		if err := reports.Clear(g.ReportDir); err != nil {
			t.Fatalf("remove the earlier report: %v", err)
		}
	}
	ginkgo.ReportAfterSuite("the verdict of "+registry.Gate, run.finish)
	passed := ginkgo.RunSpecs(ignoreOutcome{}, description, suiteConfig, reporterConfig)
	if !first {
		return // process 1 speaks for all
	}
	run.end(t, passed)
}

// fail is Gomega's fail handler. Ginkgo prints messages of failures as they are, so they are made harmless here, and each
// tells how its spec is run again.
func (g *Gate) fail(message string, callerSkip ...int) {
	message = harmless.Text(secret.Values(message, g.Secrets))
	if spec := ginkgo.CurrentSpecReport(); spec.LeafNodeType.Is(types.NodeTypeIt) && g.Rerun != "" {
		message = verdict.WithRerun(message, verdict.Options{Rerun: g.Rerun}, spec.FullText())
	}
	skip := 0
	if len(callerSkip) > 0 {
		skip = callerSkip[0]
	}
	ginkgo.Fail(message, skip+1)
}

// GinkgoRerun is the Rerun of a suite that the ginkgo command runs, with settings behind "--" given as separate words.
func GinkgoRerun(pkg string, settings ...string) string {
	command := "go tool ginkgo run --focus={focus} " + pkg
	for i, setting := range settings {
		if i == 0 {
			command += " --"
		}
		command += " " + verdict.ShellQuote(setting)
	}
	return command
}

// ProgramRerun is the Rerun of a gate that the gate command runs, with settings given as separate words.
func ProgramRerun(gate string, settings ...string) string {
	command := "gate run " + gate + " --focus {focus}"
	for _, setting := range settings {
		command += " " + verdict.ShellQuote(setting)
	}
	return command
}

// writePlan puts the built tree into a file of plans, in place of the one of that name.
func (g *Gate) writePlan(file string, planned []verdict.PlannedSpec) error {
	plans := verdict.Plans{}
	for tree, specs := range g.Plans {
		plans[tree] = specs
	}
	if text, err := os.ReadFile(file); err == nil {
		if plans, err = verdict.ParsePlans(text); err != nil {
			return err
		}
	}
	plans[g.Tree] = planned
	return os.WriteFile(file, plans.Encode(), 0o644)
}

// ignoreOutcome takes Ginkgo's own outcome: the verdict decides instead, since Ginkgo's is also a
// success when nothing ran, and a failure when only a SHOULD row failed.
type ignoreOutcome struct{}

func (ignoreOutcome) Fail() {}

func plan(tree types.SpecReports) []verdict.PlannedSpec {
	planned := []verdict.PlannedSpec{}
	for _, spec := range tree.WithLeafNodeType(types.NodeTypeIt) {
		for _, id := range requirement.IDs(spec.Labels()) {
			planned = append(planned, verdict.PlannedSpec{Row: id, Text: spec.FullText()})
		}
	}
	return planned
}

// run carries what ReportAfterSuite found to the end of the test.
type run struct {
	gate     Gate
	plan     []verdict.PlannedSpec
	parallel bool
	key      *attest.Key
	teeth    *verdict.Teeth
	ginkgo   types.Report
	options  verdict.Options
	report   *reports.Report
	err      error
	told     bool
}

// finish computes, writes and, where it is the last chance, tells the verdict.
func (r *run) finish(report ginkgo.Report) {
	r.ginkgo = report
	r.err = r.write()
	// The ginkgo command shows what a parallel process prints here, but not what it prints later; and
	// Ginkgo exits a run that is focused in the code before end gets to it.
	if r.parallel || report.SuiteHasProgrammaticFocus {
		r.tell()
	}
}

func (r *run) write() error {
	r.options.Rerun, r.options.Plan, r.options.Tree = r.gate.Rerun, r.plan, r.gate.Tree
	r.options.SourcesSHA256, r.options.Teeth = r.gate.SourcesSHA256, r.teeth
	r.options.Repeated, r.options.RequireComplete, r.options.Redacted = repeatFlag(), r.gate.RequireComplete, r.gate.Redact
	r.options.Case, r.options.GivenSeed = os.Getenv("GATE_CASE"), os.Getenv("GATE_SEED")
	r.options.Subject, r.options.SubjectProblem = r.gate.subject()
	r.options.Subject.HarnessVersion = reports.HarnessVersion
	return r.compute()
}

// subject asks the suite what was tested; a suite that panics over it shall not cost the report.
func (g *Gate) subject() (subject verdict.Subject, problem string) {
	defer func() {
		if cause := recover(); cause != nil {
			problem = fmt.Sprint(cause)
		}
		if subject.Worker == "" {
			subject.Worker = g.Configured
		}
	}()
	if g.Subject != nil {
		subject = g.Subject()
	}
	return subject, ""
}

func (r *run) compute() error {
	report, err := reports.New(r.gate.Registry, r.ginkgo, r.options, r.gate.Secrets...)
	if err != nil {
		return err
	}
	report.Key = r.key
	r.report = report
	return reports.Write(r.gate.ReportDir, report)
}

// end tells the verdict, if that has not happened, and fails the test where the verdict asks for it.
func (r *run) end(t TB, passed bool) {
	t.Helper()
	switch {
	case r.err != nil:
	case r.report == nil:
		r.err = errors.New("the suite ended before its verdict")
	case !passed && r.ginkgo.SuiteSucceeded:
		// A goroutine that outlived the last spec failed while the verdict was being given.
		r.options.FailedLate = true
		r.err, r.told = r.compute(), false
	}
	if !r.told {
		r.tell()
	}
	switch {
	case r.err != nil:
		t.Fatal(r.err)
	case r.report.Result.ExitCode != 0:
		t.Error(r.report.Result.Verdict)
	}
}

func (r *run) tell() {
	r.told = true
	if r.err == nil {
		fmt.Printf("\n%s\n%s\n", r.report.Result.Line, filepath.Join(r.gate.ReportDir, reports.ChecklistFile))
		r.err = announce(r.report.Result)
	}
	if r.err != nil {
		fmt.Printf("\nNO REPORT: %v\n", r.err)
	}
}
