// Package teeth runs every fault of a gate's registry and looks whether the row that names it turns red. A check that no
// fault can turn red proves nothing; the matrix that comes of this says which fault each row was seen to catch.
package teeth

import (
	"fmt"
	"slices"

	"touchstone/fixtures/saboteurs"
	"touchstone/fixtures/saboteurs/httpfault"
	"touchstone/reports/requirement"
	"touchstone/suites/target"
)

// Trial is one fault to be played against the row that names it. The control plays none against all rows.
type Trial struct {
	Fault string `json:"fault"`
	Row   string `json:"row"`
	Layer string `json:"layer"` // its other rows run too, to see how selective the fault is
	// Native tells that specs of the row ask the native library, too.
	Native bool `json:"native,omitempty"`
	// Dialect of the gate; empty for the touchstone one.
	Dialect string `json:"dialect,omitempty"`
}

// Plan lists the trials of a registry in its order. A fault that no saboteur implements is an error.
func Plan(registry *requirement.Registry) ([]Trial, error) {
	var trials []Trial
	for _, row := range registry.Rows {
		for _, fault := range row.Faults {
			if _, known := saboteurs.Find(fault); !known {
				return nil, fmt.Errorf("%s names the fault %q, which no saboteur implements", row.ID, fault)
			}
			trials = append(trials, Trial{Fault: fault, Row: row.ID, Layer: row.Layer, Native: slices.Contains(row.Needs, string(target.Native))})
		}
	}
	return trials, nil
}

// OverOpenAI are the trials that can be played in front of a server of the OpenAI API, in that dialect.
func OverOpenAI(trials []Trial) []Trial {
	possible := slices.Concat(httpfault.OpenAINames(), saboteurs.Names(saboteurs.Process))
	var over []Trial
	for _, trial := range trials {
		if slices.Contains(possible, trial.Fault) {
			trial.Dialect = target.DialectOpenAI
			over = append(over, trial)
		}
	}
	return over
}

// FirstOfEachRow marks the trials that are a sample: one fault a row.
func FirstOfEachRow(trials []Trial) map[string]bool {
	sample, seen := map[string]bool{}, map[string]bool{}
	for _, trial := range trials {
		if !seen[trial.Row] {
			seen[trial.Row], sample[trial.Fault] = true, true
		}
	}
	return sample
}
