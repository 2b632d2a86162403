package teeth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"touchstone/reports/requirement"
)

// Played is what one run of trials showed.
type Played struct {
	Controls []Outcome // without a fault, one for each injector
	Outcomes []Outcome
}

// Join makes the matrix of a run. A run that did not play all of the registry's faults is added to an earlier matrix of the
// same sources; before is nil where there is none. The error says why nothing may be written: the subject was not green
// without a fault, or faults are left that nobody played.
func Join(registry *requirement.Registry, sourcesSHA256 string, before *Matrix, played Played) (Matrix, error) {
	if len(played.Controls) == 0 {
		return Matrix{}, errors.New("the control was not played: without it nothing shows that it was the fault that turned a row red")
	}
	for _, control := range played.Controls {
		if !control.Green() {
			return Matrix{}, fmt.Errorf("the control is not green: %s", control.Line)
		}
	}
	outcomes := slices.Clone(played.Outcomes)
	if before != nil && before.SourcesSHA256 == sourcesSHA256 {
		for _, row := range before.Rows {
			for _, earlier := range row.Outcomes {
				if !slices.ContainsFunc(outcomes, func(o Outcome) bool { return o.Fault == earlier.Fault && o.Row == earlier.Row }) {
					outcomes = append(outcomes, earlier)
				}
			}
		}
	}
	faults := 0
	for _, row := range registry.Rows {
		faults += len(row.Faults)
	}
	matrix := NewMatrix(registry, sourcesSHA256, played.Controls[len(played.Controls)-1].Line, outcomes)
	if matrix.Faults < faults {
		return Matrix{}, fmt.Errorf("%d of %d faults were not played, and there is no earlier matrix of these sources to add the others to",
			faults-matrix.Faults, faults)
	}
	return matrix, nil
}

// ReadMatrix reads the matrix in a folder; nil where there is none.
func ReadMatrix(dir string) (*Matrix, error) {
	text, err := os.ReadFile(filepath.Join(dir, MatrixFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var matrix Matrix
	if err := json.Unmarshal(text, &matrix); err != nil {
		return nil, fmt.Errorf("%s in %s: %w", MatrixFile, dir, err)
	}
	return &matrix, nil
}
