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
	"touchstone/gates/gate1"
	"touchstone/gates/teeth"
	"touchstone/reports"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
	"touchstone/suites/target"
)

const (
	// root is the repository, seen from this package.
	root = "../.."
	// trialTimeout bounds one run of the gate's rows; longer than any spec, so that a fault that hangs ends by its own limit.
	trialTimeout = 6 * time.Minute
	// sample labels one fault of each row; `make test` runs these.
	sample = "sample"
	// openAI labels what is played in the OpenAI dialect.
	openAI = "openai"
)

// TestTeeth plays faults against Gate 1. On its own it plays the sample; with TEETH=all, as `make teeth` sets it, all.
func TestTeeth(t *testing.T) {
	RegisterFailHandler(Fail)
	suite, reporter := GinkgoConfiguration()
	if os.Getenv("TEETH") != "all" && suite.LabelFilter == "" {
		suite.LabelFilter = sample
	}
	RunSpecs(t, "teeth of gate1", suite, reporter)
}

var (
	registry *requirement.Registry
	tools    teeth.Tools
	workDir  string
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
		Expect(reports.CheckFolder(matrixDir())).To(Succeed()) // before the long run
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

var _ = Describe("Gate 1", func() {
	var err error
	registry, err = requirement.Load(gate1.Registry)
	if err != nil {
		panic(err) // the tree cannot be built
	}
	trials, err := teeth.Plan(registry)
	if err != nil {
		panic(err)
	}
	sampled := teeth.FirstOfEachRow(trials)

	It("is green with the injectors in place and no fault", Label(sample), func(ctx SpecContext) {
		for _, injector := range []string{"worker", "native"} {
			outcome, err := tools.Control(ctx, injector, rowsOf(""), filepath.Join(workDir, "control-"+injector))
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
			rows := rowsOf(trial.Layer)
			if os.Getenv("TEETH") != "all" {
				rows = []string{trial.Row}
			}
			outcome, err := tools.Play(ctx, trial, rows, filepath.Join(workDir, trial.Fault))
			Expect(err).NotTo(HaveOccurred())
			AddReportEntry("outcome", outcome)
			Expect(outcome.Killed).To(BeTrue(), "%s survived the fault %s: it is %s\n%s", trial.Row, trial.Fault, outcome.State, outcome.Line)
		}, SpecTimeout(trialTimeout))
	}
})

// In the OpenAI dialect the gate asks other questions, so its teeth are shown apart. The matrix is of the touchstone dialect.
var _ = Describe("Gate 1 over the OpenAI API", func() {
	rows := func() []string { return slices.Concat(rowsOf("HTTP"), rowsOf("Integration")) }

	It("is not red with the proxy in place and no fault, and the null worker earns no green row", Label(sample, openAI), func(ctx SpecContext) {
		control := teeth.Trial{Fault: saboteurs.None, Row: "INT-01", Dialect: target.DialectOpenAI}
		outcome, err := tools.Play(ctx, control, rows(), filepath.Join(workDir, "openai-control"))
		Expect(err).NotTo(HaveOccurred())
		Expect(outcome.Others).To(BeEmpty(), "rows that are red without a fault: %s", outcome.Line)
		// INT-01 is green if, beside what else it asks, a gate against a null worker was not.
		Expect(outcome.State).To(Equal(verdict.Passed), "INT-01: %s", outcome.Reason)
	}, SpecTimeout(trialTimeout))

	trials, err := teeth.Plan(registry)
	if err != nil {
		panic(err) // the tree cannot be built
	}
	sampled := []string{"drop-end", "one-token-differs"}
	for _, trial := range teeth.OverOpenAI(trials) {
		labels := Label(openAI, trial.Row)
		if slices.Contains(sampled, trial.Fault) {
			labels = append(labels, sample)
		}
		It(fmt.Sprintf("turns %s red over the OpenAI API when %s", trial.Row, trial.Fault), labels, func(ctx SpecContext) {
			outcome, err := tools.Play(ctx, trial, []string{trial.Row}, filepath.Join(workDir, "openai-"+trial.Fault))
			Expect(err).NotTo(HaveOccurred())
			Expect(outcome.Killed).To(BeTrue(), "%s survived the fault %s: it is %s\n%s", trial.Row, trial.Fault, outcome.State, outcome.Line)
		}, SpecTimeout(trialTimeout))
	}
})

var _ = ReportAfterSuite("the matrix of rows and faults", func(report Report) {
	var played teeth.Played
	for _, spec := range report.SpecReports {
		for _, entry := range spec.ReportEntries {
			switch entry.Name {
			case "control":
				played.Controls = append(played.Controls, outcomeOf(entry))
			case "outcome":
				played.Outcomes = append(played.Outcomes, outcomeOf(entry))
			}
		}
	}
	// A sample plays each fault against its own row alone, which says nothing of the others: it is no part of a matrix.
	if report.SuiteConfig.DryRun || len(played.Outcomes) == 0 || os.Getenv("TEETH") != "all" {
		return
	}
	dir := matrixDir()
	known, err := gate1.Known()
	Expect(err).NotTo(HaveOccurred())
	before, err := teeth.ReadMatrix(dir)
	Expect(err).NotTo(HaveOccurred())
	matrix, err := teeth.Join(registry, known.SourcesSHA256, before, played)
	if err != nil {
		fmt.Printf("\nNo matrix is written: %v\n", err)
		return
	}
	Expect(matrix.Write(dir)).To(Succeed())
	fmt.Printf("\n%s\n%s\n", matrix.Summary(), filepath.Join(dir, "matrix.md"))
})

// matrixDir is the folder of the matrix.
func matrixDir() string {
	if override := os.Getenv("GATE_REPORT_DIR"); override != "" {
		return override
	}
	return filepath.Join(root, "reports", "out", "teeth")
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
func rowsOf(layer string) []string {
	var ids []string
	for _, row := range registry.Rows {
		if layer == "" || row.Layer == layer {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

var _ = Describe("The plan", func() {
	It("plays every fault that the saboteurs implement", Label(sample), func() {
		trials, err := teeth.Plan(registry)
		Expect(err).NotTo(HaveOccurred())
		var planned []string
		for _, trial := range trials {
			planned = append(planned, trial.Fault)
		}
		slices.Sort(planned)
		Expect(planned).To(Equal(saboteurs.Names()))
	})
})
