package reports

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"touchstone/reports/evidence"
	"touchstone/reports/verdict"
)

// Change is one thing in which two reports of a gate differ.
type Change struct {
	Where string // "subject", "verdict", a row id, or a row id with a figure
	Text  string // what it was and what it is
}

// Changes lists what changed from one report to another: the subject, the verdict, the states of rows
// and the figures their specs observed. Times of specs are not compared; they differ in every run.
func Changes(before, after verdict.Result) []Change {
	var changes []Change
	add := func(where, format string, args ...any) {
		changes = append(changes, Change{Where: where, Text: fmt.Sprintf(format, args...)})
	}
	if before.Gate != after.Gate {
		add("gate", "%s → %s", before.Gate, after.Gate)
	}
	if before.RegistrySHA256 != after.RegistrySHA256 {
		add("registry", "%s (sha256 %.12s) → %s (sha256 %.12s)", before.RegistryVersion, before.RegistrySHA256, after.RegistryVersion, after.RegistrySHA256)
	}
	old, now := reflect.ValueOf(before.Subject), reflect.ValueOf(after.Subject)
	for i := range old.NumField() {
		if a, b := old.Field(i).Interface(), now.Field(i).Interface(); a != b {
			add("subject", "%s: %s → %s", old.Type().Field(i).Tag.Get("json"), show(a), show(b))
		}
	}
	if before.Verdict != after.Verdict || before.Counts != after.Counts {
		add("verdict", "%s %d/%d → %s %d/%d", before.Verdict, before.Counts.Passed, before.Counts.Total, after.Verdict, after.Counts.Passed, after.Counts.Total)
	}
	afterRows := map[string]verdict.Row{}
	for _, row := range after.Rows {
		afterRows[row.ID] = row
	}
	for _, row := range before.Rows {
		next, found := afterRows[row.ID]
		delete(afterRows, row.ID)
		if !found {
			add(row.ID, "%s → no longer a requirement", row.State)
			continue
		}
		changes = append(changes, rowChanges(row, next)...)
	}
	for _, row := range after.Rows {
		if _, isNew := afterRows[row.ID]; isNew {
			add(row.ID, "new requirement: %s", row.State)
		}
	}
	return changes
}

func rowChanges(before, after verdict.Row) []Change {
	var changes []Change
	if before.State != after.State || !reflect.DeepEqual(before.Reasons, after.Reasons) {
		text := fmt.Sprintf("%s → %s", before.State, after.State)
		if len(after.Reasons) > 0 {
			text += ": " + clip(after.Reasons[0])
		}
		changes = append(changes, Change{Where: before.ID, Text: text})
	}
	now := figures(after)
	for _, figure := range figures(before) {
		for _, next := range now {
			if next.key != figure.key || next.value == figure.value {
				continue
			}
			text := fmt.Sprintf("%s → %s", figure.show(), next.show())
			if figure.value != 0 {
				text += fmt.Sprintf(" (%+.1f %%)", 100*(next.value-figure.value)/math.Abs(figure.value))
			}
			changes = append(changes, Change{Where: before.ID + " " + figure.key, Text: text})
		}
	}
	return changes
}

// figure is a number that a spec observed.
type figure struct {
	key   string // spec and name; a name that occurs several times in a spec is numbered
	value float64
	unit  string
}

func (f figure) show() string {
	text := strconv.FormatFloat(f.value, 'g', 6, 64)
	if f.unit != "" {
		text += " " + f.unit
	}
	return text
}

func figures(row verdict.Row) []figure {
	var found []figure
	seen := map[string]int{}
	for _, spec := range row.Specs {
		for _, entry := range spec.Evidence {
			value, unit, ok := number(entry)
			if !ok {
				continue
			}
			key := fmt.Sprintf("%s: %s", spec.Text, entry.Name)
			if seen[key]++; seen[key] > 1 {
				key += fmt.Sprintf(" #%d", seen[key])
			}
			found = append(found, figure{key: key, value: value, unit: unit})
		}
	}
	return found
}

func number(entry evidence.Entry) (value float64, unit string, ok bool) {
	observed, unit := entry.Value, entry.Unit
	if entry.KernelError != nil {
		observed, unit = entry.KernelError.WorstFractionOfBound, "of bound"
	}
	text, isNumber := observed.(json.Number)
	if !isNumber {
		return 0, "", false
	}
	value, err := text.Float64()
	return value, unit, err == nil
}
