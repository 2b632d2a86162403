package verdict

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Teeth is the outcome of running faults against a harness version: which faults turned which rows red.
type Teeth struct {
	HarnessVersion string              `json:"harnessVersion"`
	Rows           map[string]TeethRow `json:"rows"` // by row id
}

// TeethRow lists the faults of one row by what happened.
type TeethRow struct {
	Killed   []string `json:"killed"`   // turned the row red
	Survived []string `json:"survived"` // left the row green: the row is blind to them
}

// ReadTeeth reads a Teeth from JSON.
func ReadTeeth(data []byte) (*Teeth, error) {
	var teeth Teeth
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&teeth); err != nil {
		return nil, fmt.Errorf("read the outcome of the faults: %w", err)
	}
	if teeth.HarnessVersion == "" {
		return nil, fmt.Errorf("read the outcome of the faults: harnessVersion is missing")
	}
	return &teeth, nil
}

// applyTeeth notes which of the row's faults turned it red. Faults of other rows do not count, though
// they may have: a row is proven by the faults the registry names for it.
func (r *Row) applyTeeth(teeth TeethRow) {
	for _, fault := range r.Faults {
		if slices.Contains(teeth.Killed, fault) {
			r.Killed = append(r.Killed, fault)
		}
	}
	if r.State == Passed && len(r.Killed) == 0 {
		r.State, r.Reasons = Unproven, []string{"no fault has been shown to turn it red"}
	}
}

// apply tells whether the teeth count for a subject: they do for the harness version and the specs that showed them.
func (t *Teeth) apply(subject Subject) bool {
	return t != nil && t.HarnessVersion == subject.HarnessVersion && !subject.overOpenAI()
}
