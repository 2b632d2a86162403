package teeth_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"touchstone/fixtures/saboteurs"
	"touchstone/gates/catalogue"
	"touchstone/gates/suite"
	"touchstone/gates/teeth"
	"touchstone/reports"
	"touchstone/reports/requirement"
)

const (
	// root is the repository, seen from this package.
	root = "../.."
	// trialTimeout bounds one run of the gate's rows; longer than any spec, so that a fault that hangs ends by its own limit.
	trialTimeout = 6 * time.Minute
	// sample labels one fault of each row; `make test` runs these.
	sample = "sample"
)

// TestTeeth plays faults against every gate. On its own it plays the sample; with TEETH=all, as `make teeth` sets it, all.
func TestTeeth(t *testing.T) {
	RegisterFailHandler(Fail)
	suite, reporter := GinkgoConfiguration()
	if os.Getenv("TEETH") != "all" && suite.LabelFilter == "" {
		suite.LabelFilter = sample
	}
	RunSpecs(t, "teeth", suite, reporter)
}

var (
	tools   teeth.Tools
	workDir string
)

// setup is what process 1 hands to the others.
type setup struct {
	Tools   teeth.Tools
	WorkDir string
}

var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	dir, err := os.MkdirTemp("", "teeth-")
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(os.RemoveAll, dir)
	if os.Getenv("TEETH") == "all" {
		for _, gate := range catalogue.Gates {
			Expect(reports.CheckFolder(matrixDir(gate.Name))).To(Succeed()) // before the long run
		}
	}
	absolute, err := filepath.Abs(root)
	Expect(err).NotTo(HaveOccurred())
	built, err := teeth.Build(ctx, absolute, dir)
	Expect(err).NotTo(HaveOccurred())
	handed, err := json.Marshal(setup{Tools: built, WorkDir: dir})
	Expect(err).NotTo(HaveOccurred())
	return handed
}, func(handed []byte) {
	var got setup
	Expect(json.Unmarshal(handed, &got)).To(Succeed())
	tools, workDir = got.Tools, got.WorkDir
})

var _ = Describe("teeth", func() {
	for _, gate := range catalogue.Gates {
		Describe("of "+gate.Name, Label(gate.Name), func() { registerTrials(gate) })
	}
})

func registerTrials(gate suite.Gate) {
	registry, err := teeth.Registry(gate)
	if err != nil {
		panic(err) // the tree cannot be built
	}
	trials, err := teeth.Plan(gate)
	if err != nil {
		panic(err)
	}
	sampled := teeth.FirstOfEachRow(trials)

	It("is green with the injectors in place and no fault", Label(sample), func(ctx SpecContext) {
		injectors := []saboteurs.Door{saboteurs.HTTP}
		if slices.Contains(gate.Doors(), saboteurs.Native) {
			injectors = append(injectors, saboteurs.Native)
		}
		for _, injector := range injectors {
			outcome, err := tools.Control(ctx, gate.Name, injector, rowsOf(registry, ""), filepath.Join(workDir, gate.Name+"-control-"+string(injector)))
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry("control", outcome)
			Expect(outcome.Green()).To(BeTrue(), "rows that are red without a fault, behind the %s injector: %s\n%s", injector, outcome.Line, outcome.Reason)
		}
	}, SpecTimeout(trialTimeout))

	for _, trial := range trials {
		labels := Label(trial.Row)
		if sampled[trial.Fault] {
			labels = append(labels, sample)
		}
		It(fmt.Sprintf("turns %s red when %s", trial.Row, trial.Fault), labels, func(ctx SpecContext) {
			rows := rowsOf(registry, trial.Layer)
			if os.Getenv("TEETH") != "all" {
				rows = []string{trial.Row}
			}
			fault, _ := saboteurs.Find(trial.Fault, gate.Doors()...)
			outcome, err := tools.Play(ctx, trial, fault, rows, filepath.Join(workDir, gate.Name+"-"+trial.Row+"-"+trial.Fault))
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry("outcome", outcome)
			Expect(outcome.Killed).To(BeTrue(), "%s survived the fault %s: it is %s, %s\n%s", trial.Row, trial.Fault, outcome.State, outcome.Reason, outcome.Line)
		}, SpecTimeout(trialTimeout))
	}
}

var _ = ReportAfterSuite("the matrices of rows and faults", func(report Report) {
	played := map[string]*teeth.Played{}
	for _, gate := range catalogue.Gates {
		played[gate.Name] = new(teeth.Played)
	}
	for _, spec := range report.SpecReports {
		for _, entry := range spec.ReportEntries {
			switch entry.Name {
			case "control":
				outcome := outcomeOf(entry)
				played[outcome.Gate].Controls = append(played[outcome.Gate].Controls, outcome)
			case "outcome":
				outcome := outcomeOf(entry)
				played[outcome.Gate].Outcomes = append(played[outcome.Gate].Outcomes, outcome)
			}
		}
	}
	// A sample plays each fault against its own row alone, which says nothing of the others: it is no part of a matrix.
	if report.SuiteConfig.DryRun || os.Getenv("TEETH") != "all" {
		return
	}
	for _, gate := range catalogue.Gates {
		if len(played[gate.Name].Outcomes) == 0 {
			continue
		}
		dir := matrixDir(gate.Name)
		before, err := teeth.ReadMatrix(dir)
		Expect(err).NotTo(HaveOccurred())
		known, err := gate.Known()
		Expect(err).NotTo(HaveOccurred())
		registry, err := teeth.Registry(gate)
		Expect(err).NotTo(HaveOccurred())
		matrix, err := teeth.Join(registry, known.SourcesSHA256, before, *played[gate.Name])
		if err != nil {
			fmt.Printf("\n%s: no matrix is written: %v\n", gate.Name, err)
			continue
		}
		Expect(matrix.Write(dir)).To(Succeed())
		fmt.Printf("\n%s: %s\n%s\n", gate.Name, matrix.Summary(), filepath.Join(dir, "matrix.md"))
	}
})

// matrixDir is the folder of a gate's matrix.
func matrixDir(gate string) string {
	if override := os.Getenv("GATE_REPORT_DIR"); override != "" {
		return filepath.Join(override, gate)
	}
	return filepath.Join(root, "reports", "out", "teeth", gate)
}

// outcomeOf reads an outcome back, whether this process recorded it or another one sent it.
func outcomeOf(entry types.ReportEntry) teeth.Outcome {
	if outcome, isOurs := entry.GetRawValue().(teeth.Outcome); isOurs {
		return outcome
	}
	var outcome teeth.Outcome
	Expect(json.Unmarshal([]byte(entry.Value.AsJSON), &outcome)).To(Succeed())
	return outcome
}

// rowsOf lists the rows of a layer, or all rows for "".
func rowsOf(registry *requirement.Registry, layer string) []string {
	var ids []string
	for _, row := range registry.Rows {
		if layer == "" || row.Layer == layer {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

var _ = Describe("The plans", func() {
	It("play every fault that the saboteurs implement", Label(sample), func() {
		planned := map[string]bool{}
		for _, gate := range catalogue.Gates {
			trials, err := teeth.Plan(gate)
			Expect(err).NotTo(HaveOccurred())
			for _, trial := range trials {
				fault, _ := saboteurs.Find(trial.Fault, gate.Doors()...)
				planned[string(fault.Door)+" "+fault.Name] = true
			}
		}
		for _, fault := range saboteurs.Faults() {
			Expect(planned).To(HaveKey(string(fault.Door)+" "+fault.Name), "no gate lists the claim %s", fault.Claim)
		}
	})
})
