package soak

import (
	"context"
	"fmt"
	"slices"

	"touchstone/reports/soak"
)

// Minimise shrinks a run that diverged to the fewest factors that still diverge, by delta debugging (Zeller and
// Hildebrandt 2002, algorithm ddmin) over the factors that are not at their baseline. A candidate is executed until it
// diverges, at most repeats times: soak.RunsToSee of the failure rate lets a rare failure show with 95 % probability.
func Minimise(ctx context.Context, executor Executor, ledger *soak.Contents, run soak.Run, repeats int) (soak.Minimum, error) {
	plan := &ledger.Header.Plan
	m := soak.Minimum{Run: run.Index, Varied: run.Named(plan.Varied(run)), Repeats: repeats}
	diverges := func(keep []string) (bool, error) {
		candidate := plan.Reduce(run, keep)
		for range repeats {
			m.Executions++
			record, err := Perform(ctx, executor, ledger, candidate)
			if err != nil {
				return false, fmt.Errorf("run %d with only %v: %w", run.Index, candidate.Named(keep), err)
			}
			if found := soak.Divergences(plan, []soak.Record{record}, 1); len(found) > 0 {
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
	m.Keep = run.Named(kept)
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
