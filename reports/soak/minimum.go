package soak

import "fmt"

// Minimum is the result of shrinking a run that diverged.
type Minimum struct {
	Run    int      `json:"run"`
	Varied []string `json:"varied"` // factors that were not at their baseline
	// Keep are the factors, as "factor=level", that together still diverge, while without any one of them nothing did. It
	// is empty if the run diverges with every factor at its baseline.
	Keep       []string    `json:"keep"`
	Reproduced bool        `json:"reproduced"`
	First      *Divergence `json:"first,omitempty"` // of the smallest run
	Repeats    int         `json:"repeats"`         // executions of each candidate
	Executions int         `json:"executions"`
}

// String is the result in one line.
func (m Minimum) String() string {
	switch {
	case !m.Reproduced:
		return fmt.Sprintf("run %d did not diverge again in %d executions", m.Run, m.Executions)
	case len(m.Keep) == 0:
		return fmt.Sprintf("run %d diverges with every factor at its baseline (%d executions, up to %d a candidate): no factor is to blame; %s", m.Run, m.Executions, m.Repeats, m.First)
	}
	return fmt.Sprintf("run %d diverges with only %s (%d executions, up to %d a candidate); %s", m.Run, varied(m.Keep), m.Executions, m.Repeats, m.First)
}
