// Package teeth runs every fault that a gate must see and looks whether the rows that list its claim turn red. A check that no
// fault can turn red proves nothing; the matrix that comes of this says which fault each row was seen to catch.
package teeth

import (
	"fmt"
	"slices"

	"touchstone/fixtures/saboteurs"
	"touchstone/gates/suite"
	"touchstone/reports/requirement"
	"touchstone/suites/target"
)

// Trial is one fault to be played against a row of a gate. The control plays none against all rows.
type Trial struct {
	Gate  string `json:"gate"`
	Fault string `json:"fault"`
	Row   string `json:"row"`
	Layer string `json:"layer"` // its other rows run too, to see how selective the fault is
	// Native tells that specs of the row ask the native library, too.
	Native bool `json:"native,omitempty"`
}

// Plan lists the trials of a gate in the order of its rows. A fault that no saboteur implements is an error.
func Plan(gate suite.Gate) ([]Trial, error) {
	registry, err := Registry(gate)
	if err != nil {
		return nil, err
	}
	var trials []Trial
	for _, row := range registry.Rows {
		for _, fault := range row.Faults {
			if _, known := saboteurs.Find(fault, gate.Doors()...); !known {
				return nil, fmt.Errorf("%s names the fault %q, which no saboteur implements", row.ID, fault)
			}
			trials = append(trials, Trial{
				Gate: gate.Name, Fault: fault, Row: row.ID, Layer: row.Layer, Native: slices.Contains(row.Needs, string(target.Native)),
			})
		}
	}
	return trials, nil
}

// Registry is the registry of a gate.
func Registry(gate suite.Gate) (*requirement.Registry, error) {
	known, err := gate.Known()
	if err != nil {
		return nil, err
	}
	return requirement.Load(known.Registry)
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
