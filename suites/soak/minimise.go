package soak

import (
	"context"
	"fmt"
	"slices"
)

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

// Minimise shrinks a run that diverged to the fewest factors that still diverge, by delta debugging (Zeller and
// Hildebrandt 2002, algorithm ddmin) over the factors that are not at their baseline. A candidate is executed until it
// diverges, at most repeats times: RunsToSee of the failure rate lets a rare failure show with 95 % probability.
func Minimise(ctx context.Context, executor Executor, ledger *Contents, run Run, repeats int) (Minimum, error) {
	plan := &ledger.Header.Plan
	m := Minimum{Run: run.Index, Varied: withLevels(run, plan.Varied(run)), Repeats: repeats}
	diverges := func(keep []string) (bool, error) {
		candidate := plan.Reduce(run, keep)
		for range repeats {
			m.Executions++
			record, err := Perform(ctx, executor, ledger, candidate)
			if err != nil {
				return false, fmt.Errorf("run %d with only %s: %w", run.Index, varied(withLevels(candidate, keep)), err)
			}
			if found := divergences(plan, []Record{record}, 1); len(found) > 0 {
				m.First = &found[0]
				return true, nil
			}
		}
		return false, nil
	}
	kept := plan.Varied(run)
	var err error
	if m.Reproduced, err = diverges(kept); err != nil || !m.Reproduced {
		return m, err
	}
	if free, err := diverges(nil); err != nil || free {
		return m, err
	}
	kept, err = shrink(kept, diverges)
	m.Keep = withLevels(run, kept)
	return m, err
}

// shrink is ddmin: fails(whole) holds; the result fails, and fails no more without any one of its elements.
func shrink(whole []string, fails func([]string) (bool, error)) ([]string, error) {
	parts := 2
	for len(whole) >= 2 {
		smaller, err := firstFailing(whole, parts, fails)
		switch {
		case err != nil:
			return whole, err
		case smaller != nil:
			parts = max(2, min(parts-1, len(smaller)))
			whole = smaller
		case parts >= len(whole):
			return whole, nil
		default:
			parts = min(2*parts, len(whole))
		}
	}
	return whole, nil
}

// firstFailing tries each part alone, then the whole without each part.
func firstFailing(whole []string, parts int, fails func([]string) (bool, error)) ([]string, error) {
	var candidates [][]string
	for i := range parts {
		part := whole[i*len(whole)/parts : (i+1)*len(whole)/parts]
		candidates = append(candidates, slices.Clone(part))
	}
	if parts > 2 { // with two parts the rest of one is the other
		for i := range parts {
			candidates = append(candidates, slices.Delete(slices.Clone(whole), i*len(whole)/parts, (i+1)*len(whole)/parts))
		}
	}
	for _, candidate := range candidates {
		failing, err := fails(candidate)
		if err != nil || failing {
			return candidate, err
		}
	}
	return nil, nil
}

func withLevels(run Run, factors []string) []string {
	var named []string
	for _, factor := range factors {
		if level, applies := run.Levels[factor]; applies {
			named = append(named, factor+"="+level)
		}
	}
	return named
}
