package verdict

import (
	"fmt"
	"slices"
	"strings"

	"touchstone/reports/harmless"
)

// line is the verdict with its subject, what it leaves out and, where it is not a plain PASS, the reason.
func (r *Result) line() string {
	parts := []string{fmt.Sprintf("%s %d/%d", r.Verdict, r.Counts.Passed, r.Counts.Total)}
	parts = append(parts, r.Subject.parts()...)
	for _, state := range []State{Failed, Inconclusive, Unproven} {
		if ids := r.idsIn(state); len(ids) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s: %s", len(ids), strings.ToLower(string(state)), shorten(ids)))
		}
	}
	parts = append(parts, r.notRunParts()...)
	parts = append(parts, r.missingParts()...)
	if waived := r.waivedIDs(); len(waived) > 0 {
		parts = append(parts, fmt.Sprintf("%d waived: %s", len(waived), shorten(waived)))
	}
	if len(r.Problems) > 0 {
		parts = append(parts, oneLine(r.Problems[0]))
	}
	if len(r.Restrictions) > 0 {
		parts = append(parts, "not a full run: "+strings.Join(r.Restrictions, ", "))
	}
	return harmless.Line(strings.Join(parts, " · "))
}

// missingParts counts the parts of rows that passed without them, by what they would need.
func (r *Result) missingParts() []string {
	var needs []string
	count := map[string]int{}
	for _, row := range r.Rows {
		if row.State != Passed && row.State != Unproven {
			continue
		}
		for _, missing := range row.Parts.Missing {
			if count[missing.Reason] += missing.Parts; count[missing.Reason] == missing.Parts {
				needs = append(needs, missing.Reason)
			}
		}
	}
	var parts []string
	for _, reason := range needs {
		parts = append(parts, Missing{Reason: reason, Parts: count[reason]}.say(" parts", " part"))
	}
	return parts
}

// notRunParts counts the rows that did not run by their first reason, in the order of the registry.
func (r *Result) notRunParts() []string {
	var reasons []string
	count := map[string]int{}
	for _, row := range r.Rows {
		if row.State != NotRun {
			continue
		}
		reason := "no reason given"
		if len(row.Reasons) > 0 {
			reason = oneLine(row.Reasons[0])
		}
		if count[reason]++; count[reason] == 1 {
			reasons = append(reasons, reason)
		}
	}
	var parts []string
	for _, reason := range reasons {
		parts = append(parts, fmt.Sprintf("%d not run: %s", count[reason], reason))
	}
	if len(parts) > 3 {
		parts = append(parts[:3], fmt.Sprintf("and %d more reasons", len(parts)-3))
	}
	return parts
}

func (r *Result) idsIn(state State) []string {
	return r.ids(func(row Row) bool { return row.State == state && !row.Waived })
}

func (r *Result) waivedIDs() []string {
	return r.ids(func(row Row) bool { return row.Waived })
}

func (r *Result) ids(match func(Row) bool) []string {
	var ids []string
	for _, row := range r.Rows {
		if match(row) {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// shorten lists at most four ids.
func shorten(ids []string) string {
	if len(ids) > 4 {
		ids = append(slices.Clone(ids[:4]), "…")
	}
	return strings.Join(ids, ", ")
}

// clip cuts after n characters and shows that it did.
func clip(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return text
}

// oneLine is the first line of text, without the line's surrounding space.
func oneLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(first)
}
