// Package suite makes a gate of a registry and of specs: what is the same for all gates, so that a gate is little more than its
// list of requirements.
package suite

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gcustom"
	"github.com/onsi/gomega/types"

	"touchstone/fixtures/saboteurs"
	"touchstone/reports"
	"touchstone/reports/gate"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
	"touchstone/suites"
	"touchstone/suites/api"
	"touchstone/suites/checkout"
	"touchstone/suites/integration/misbehave"
	"touchstone/suites/target"
)

// Gate is a list of requirements with the specs that prove them.
type Gate struct {
	Name string // as in the registry, and the folder below gates/ of its suite
	// Requirements is the YAML of the registry, whose rows list claims; the faults follow from them.
	Requirements []byte
	// API is the interface over which the subject is asked.
	API string
	// Specs adds the specs to the container that calls it. Those whose claims no row lists stay out of the gate.
	Specs func(subject func() *target.Target)
	// Plan is the list of the gate's specs, as GATE_PLAN=FILE writes it; nil is not compared.
	Plan []byte
	// Teeth is the outcome of playing the gate's faults, as `make teeth` writes it; nil is not measured.
	Teeth []byte
}

// Doors are where faults get in that this gate must see.
func (g Gate) Doors() []saboteurs.Door {
	if g.API == api.Touchstone {
		return []saboteurs.Door{saboteurs.HTTP, saboteurs.Process, saboteurs.Native}
	}
	return []saboteurs.Door{saboteurs.OpenAI, saboteurs.Process}
}

// Known is what a report of this gate has to agree with. A row that no fault can turn red is an error.
func (g Gate) Known() (reports.Known, error) {
	var faults []requirement.Fault
	for _, fault := range saboteurs.Faults(g.Doors()...) {
		faults = append(faults, requirement.Fault{Name: fault.Name, Claims: []string{fault.Claim}})
	}
	registry, err := requirement.Arm(g.Requirements, faults)
	if err != nil {
		return reports.Known{}, err
	}
	known := reports.Known{Registry: registry}
	if g.Plan != nil {
		if known.Plans, err = verdict.ParsePlans(g.Plan); err != nil {
			return known, err
		}
	}
	if known.SourcesSHA256, err = verdict.SourcesDigest(registry, suites.Sources, saboteurs.Sources); err != nil {
		return known, err
	}
	if g.Teeth != nil {
		known.Teeth, err = verdict.ReadTeeth(g.Teeth)
	}
	return known, err
}

const (
	// setupTimeout covers the build of the bundled worker on a machine that never built it.
	setupTimeout = 10 * time.Minute
	closeTimeout = time.Minute
)

// Runner is how a gate was started, and is to be started again.
type Runner struct {
	// Again is the command that runs the gate once more with settings, and with {focus} where it selects a spec.
	Again func(settings []string) string
	// Self is this very program, as a command that runs the gate on what its environment describes.
	Self []string
	// Folder is where relative paths are seen from.
	Folder string
}

// Test runs the gate of the package ./gates/NAME as a test. profile comes from target.Flags.
func Test(t *testing.T, g Gate, profile func(folder string) (target.Profile, error)) {
	misbehave.IfAsked()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	Run(t, g, profile, Runner{
		Again: func(settings []string) string { return gate.GinkgoRerun("./gates/"+g.Name, settings...) },
		Self:  []string{executable, "-test.run=^" + t.Name() + "$", "-ginkgo.no-color", "-ginkgo.seed=1"}, Folder: checkout.Root(),
	})
}

// Run runs the gate and ends t according to the verdict.
func Run(t gate.TB, g Gate, read func(folder string) (target.Profile, error), runner Runner) {
	t.Helper()
	if os.Getenv("GATE_PLAN") != "" {
		g.Plan = nil // it is written anew
	}
	known, err := g.Known()
	if err != nil {
		t.Fatal(err)
	}
	profile, err := read(runner.Folder)
	if err != nil {
		t.Fatal(err)
	}
	profile.API = g.API
	reportDir := profile.ReportDir
	if reportDir == "" {
		reportDir = filepath.Join(runner.Folder, "reports", "out", g.Name)
	}
	subject := new(*target.Target)
	register(g, profile, runner, subject)
	gate.Run(t, gate.Gate{
		Registry: known.Registry, Plans: known.Plans, SourcesSHA256: known.SourcesSHA256, Teeth: g.Teeth,
		Rerun: runner.Again(profile.Arguments()), ReportDir: reportDir, Secrets: profile.Secrets(),
		Subject: func() verdict.Subject { return (*subject).Subject() }, Configured: profile.Label(),
	})
}

// register adds setup, specs and clean-up of the gate to the tree.
func register(g Gate, profile target.Profile, runner Runner, subject **target.Target) {
	SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
		prepared, err := target.Prepare(ctx, profile)
		*subject = prepared
		Expect(err).To(succeedOrSayWhy())
		prepared.RunBy(runner.Self)
		return prepared.Shared().Encode()
	}, func(shared []byte) {
		if *subject != nil {
			return // the process that prepared it
		}
		joined, err := target.Join(profile, shared)
		Expect(err).NotTo(HaveOccurred())
		joined.RunBy(runner.Self)
		*subject = joined
	}, NodeTimeout(setupTimeout))

	SynchronizedAfterSuite(func() {}, func(ctx SpecContext) {
		if *subject != nil {
			Expect((*subject).Close(ctx)).To(Succeed())
		}
	}, NodeTimeout(closeTimeout))

	Describe(g.Name, func() { g.Specs(func() *target.Target { return *subject }) })
}

// succeedOrSayWhy fails with nothing but the text of the error: whoever starts a gate on a worker that is not
// there wants to read why, not how the error is built.
func succeedOrSayWhy() types.GomegaMatcher {
	return gcustom.MakeMatcher(func(err error) (bool, error) { return err == nil, nil }).WithTemplate("{{.Actual}}")
}

// Find is the gate of a name.
func Find(gates []Gate, name string) (Gate, error) {
	at := slices.IndexFunc(gates, func(g Gate) bool { return g.Name == name })
	if at < 0 {
		var names []string
		for _, g := range gates {
			names = append(names, g.Name)
		}
		return Gate{}, fmt.Errorf("there is no gate %q: there are %s", name, strings.Join(names, ", "))
	}
	return gates[at], nil
}
