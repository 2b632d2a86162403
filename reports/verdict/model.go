// Package verdict joins the registry of a gate with Ginkgo's report of a run and says what was proven.
// It is pure: the same registry, report and options give the same result, which is how a written
// report is verified later.
package verdict

import (
	"fmt"
	"strings"
	"time"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
)

// State is the state of a row or of one of its specs.
type State string

// The states, from best to worst; the worst spec decides its row.
const (
	Passed       State = "PASSED"       // its specs ran, passed, and each recorded evidence
	Unproven     State = "UNPROVEN"     // passed, but no fault has been shown to turn the row red
	NotRun       State = "NOT RUN"      // skipped, pending, filtered out or dry-run
	Inconclusive State = "INCONCLUSIVE" // passed without evidence, or vanished from the report
	Failed       State = "FAILED"       // failed, panicked, timed out or was interrupted
)

// States lists the states from worst to best.
var States = []State{Failed, Inconclusive, NotRun, Unproven, Passed}

func (s State) badness() int {
	for i, state := range States {
		if s == state {
			return len(States) - i
		}
	}
	return len(States) + 1
}

// Verdict is the outcome of a gate.
type Verdict string

// The verdicts. Only PASS says that every MUST row was proven.
const (
	Pass       Verdict = "PASS"
	Incomplete Verdict = "INCOMPLETE"
	Fail       Verdict = "FAIL"
)

// Options is what a verdict depends on besides the registry and Ginkgo's report. It is stored with the
// report so that the verdict can be computed again.
type Options struct {
	Subject         Subject       `json:"subject"`
	Rerun           string        `json:"rerun"`                    // the command that runs it again, with {focus} where a spec is selected
	Tree            string        `json:"tree,omitempty"`           // which tree of specs was built, for a gate that has several
	SourcesSHA256   string        `json:"sourcesSha256,omitempty"`  // of the specs, faults and registry, as Teeth has it
	Plan            []PlannedSpec `json:"plan"`                     // every spec of the tree before anything ran
	Teeth           *Teeth        `json:"teeth,omitempty"`          // nil when the faults were not run
	Repeated        string        `json:"repeated,omitempty"`       // the command-line flag that repeats whole runs, if one was given
	Case            string        `json:"case,omitempty"`           // the one case that was asked for with GATE_CASE, if any
	GivenSeed       string        `json:"givenSeed,omitempty"`      // the seed of the requests that GATE_SEED gave, if any
	SubjectProblem  string        `json:"subjectProblem,omitempty"` // why the subject could not be told
	RequireComplete bool          `json:"requireComplete"`          // INCOMPLETE exits 1
	Redacted        bool          `json:"redacted"`                 // texts were replaced by their lengths and hashes
	FailedLate      bool          `json:"failedLate"`               // something failed after the last spec, outside of Ginkgo's report
}

// PlannedSpec is one spec of the tree.
type PlannedSpec struct {
	Row  string `json:"row"`
	Text string `json:"text"`
}

// Result is the outcome of a gate run, as report.json holds it.
type Result struct {
	Gate            string    `json:"gate"`
	Title           string    `json:"title"`
	RegistryVersion string    `json:"registryVersion"`
	RegistrySHA256  string    `json:"registrySha256"`
	Subject         Subject   `json:"subject"`
	Verdict         Verdict   `json:"verdict"`
	Line            string    `json:"line"` // the verdict with its subject, as it is printed
	ExitCode        int       `json:"exitCode"`
	Counts          Counts    `json:"counts"`
	Restrictions    []string  `json:"restrictions"`  // why the run cannot be more than INCOMPLETE
	Problems        []string  `json:"problems"`      // failures outside of specs, such as a failed setup
	SourcesSHA256   string    `json:"sourcesSha256"` // of the specs, faults and registry; empty where the gate does not tell
	TeethMeasured   bool      `json:"teethMeasured"` // with exactly these sources
	Started         time.Time `json:"started"`
	Ended           time.Time `json:"ended"`
	Seed            int64     `json:"seed"` // of Ginkgo's spec order
	Rows            []Row     `json:"rows"` // in the order of the registry
}

// Counts counts rows by state. A waived row is counted in its state and in Waived.
type Counts struct {
	Total        int `json:"total"`
	Passed       int `json:"passed"`
	Failed       int `json:"failed"`
	NotRun       int `json:"notRun"`
	Inconclusive int `json:"inconclusive"`
	Unproven     int `json:"unproven"`
	Waived       int `json:"waived"`
}

// Row is one requirement and what the run showed about it.
type Row struct {
	ID      string              `json:"id"`
	Layer   string              `json:"layer"`
	Title   string              `json:"title"`
	Level   requirement.Level   `json:"level"`
	Proof   string              `json:"proof"`
	State   State               `json:"state"`
	Reasons []string            `json:"reasons"` // why it is not PASSED
	Parts   Parts               `json:"parts"`
	Waiver  *requirement.Waiver `json:"waiver,omitempty"` // as the registry has it
	Waived  bool                `json:"waived"`           // the waiver holds and excuses the row
	Faults  []string            `json:"faults"`
	Killed  []string            `json:"killed"` // faults known to turn the row red; empty when not measured
	Seconds float64             `json:"seconds"`
	Specs   []Spec              `json:"specs"`
}

// Parts is how much of a row passed: its specs, and the parts of specs that were recorded as not run.
type Parts struct {
	Passed  int       `json:"passed"`
	Total   int       `json:"total"`
	Missing []Missing `json:"missing"` // by reason
}

// Missing is why parts did not run, such as "needs a CUDA device", and how many.
type Missing struct {
	Reason string `json:"reason"`
	Parts  int    `json:"parts"`
}

// say counts the parts: "4 need a CUDA device", "1 part needs a CUDA device" or "2 not run: off".
func (m Missing) say(plural, singular string) string {
	need, needs := strings.CutPrefix(m.Reason, "needs ")
	switch {
	case needs && m.Parts == 1:
		return "1" + singular + " needs " + need
	case needs:
		return fmt.Sprintf("%d%s need %s", m.Parts, plural, need)
	}
	return fmt.Sprintf("%d%s not run: %s", m.Parts, plural, m.Reason)
}

// Partly tells how much of a row passed where that is not all of it: "5 of 9 parts · 4 need a CUDA device"; empty for a
// row that is whole, that failed, or of which nothing ran.
func (r Row) Partly() string {
	whole := len(r.Parts.Missing) == 0 && r.State != NotRun
	if whole || r.Parts.Passed == 0 || r.State == Failed || r.State == Inconclusive {
		return ""
	}
	said := fmt.Sprintf("%d of %d parts", r.Parts.Passed, r.Parts.Total)
	for _, missing := range r.Parts.Missing {
		said += " · " + missing.say("", "")
	}
	return said
}

// Spec is one spec of a row.
type Spec struct {
	Text     string           `json:"text"`
	Location string           `json:"location"`
	State    State            `json:"state"`
	Reason   string           `json:"reason,omitempty"`
	Failure  *Failure         `json:"failure,omitempty"`
	Seconds  float64          `json:"seconds"`
	Process  int              `json:"process"` // Ginkgo's parallel process, from 1
	Evidence []evidence.Entry `json:"evidence"`
	Rerun    string           `json:"rerun"` // the command that runs this spec alone

	partsOnly bool // it is NOT RUN because it recorded nothing but parts that did not run
}

// Failure says how a spec failed.
type Failure struct {
	How        string `json:"how"` // Ginkgo's word: failed, panicked, timedout, interrupted, aborted
	Message    string `json:"message"`
	Location   string `json:"location"`
	Expected   string `json:"expected,omitempty"`
	Got        string `json:"got,omitempty"`
	Divergence string `json:"divergence,omitempty"` // the first place where the two differ

	oneCase string // the one case that failed, where the message names it
}

// Observed tells the first n things the row's specs recorded, and how many they recorded in all.
func (r Row) Observed(n int) (first []string, total int) {
	for _, spec := range r.Specs {
		for _, entry := range spec.Evidence {
			if entry.Kind == evidence.KindNotRun {
				continue
			}
			if total++; total <= n {
				first = append(first, entry.String())
			}
		}
	}
	return first, total
}
