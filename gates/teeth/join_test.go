package teeth

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"touchstone/fixtures/saboteurs"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
)

// sample is a registry of two rows with three faults.
var sample = &requirement.Registry{Gate: "sample", Rows: []requirement.Row{
	{ID: "HTTP-04", Layer: "HTTP", Title: "Stream", Faults: []string{"drop-end", "index-gap"}},
	{ID: "FFI-04", Layer: "FFI", Title: "Load", Faults: []string{"progress-jumps"}},
}}

func killed(fault, row string) Outcome {
	return Outcome{Trial: Trial{Fault: fault, Row: row}, Killed: true, State: verdict.Failed}
}

var (
	green = []Outcome{{Trial: Trial{Fault: saboteurs.None}, Line: "INCOMPLETE 27/27"}}
	all   = []Outcome{killed("drop-end", "HTTP-04"), killed("index-gap", "HTTP-04"), killed("progress-jumps", "FFI-04")}
)

func TestAWholeRunMakesAMatrix(t *testing.T) {
	matrix, err := Join(sample, "now", nil, Played{Controls: green, Outcomes: all})
	if err != nil || matrix.Killed != 3 || matrix.Faults != 3 || matrix.RowsProven != 2 {
		t.Fatalf("%v: %s", err, matrix.Summary())
	}
	teeth := matrix.Teeth()
	if teeth.SourcesSHA256 != "now" || !slices.Equal(teeth.Rows["HTTP-04"].Killed, []string{"drop-end", "index-gap"}) {
		t.Errorf("teeth are %+v", teeth)
	}
}

func TestNothingIsWrittenUnlessItHolds(t *testing.T) {
	whole, err := Join(sample, "now", nil, Played{Controls: green, Outcomes: all})
	if err != nil {
		t.Fatal(err)
	}
	red := Outcome{Trial: Trial{Fault: saboteurs.None}, Others: []string{"HTTP-01"}, Line: "FAIL 26/27"}
	for name, c := range map[string]struct {
		before *Matrix
		played Played
		want   string
	}{
		"no control":                    {&whole, Played{Outcomes: all}, "control was not played"},
		"a red control":                 {&whole, Played{Controls: append(slices.Clone(green), red), Outcomes: all}, "control is not green: FAIL 26/27"},
		"a part, and nothing before":    {nil, Played{Controls: green, Outcomes: all[:1]}, "2 of 3 faults were not played"},
		"a part, and other sources":     {&Matrix{SourcesSHA256: "then", Rows: whole.Rows}, Played{Controls: green, Outcomes: all[:1]}, "2 of 3 faults were not played"},
		"a control that never reported": {nil, Played{Controls: []Outcome{{Trial: Trial{Fault: saboteurs.None}}}, Outcomes: all}, "control is not green"},
	} {
		if _, err := Join(sample, "now", c.before, c.played); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestAPartIsAddedToTheMatrixOfTheSameSources(t *testing.T) {
	whole, err := Join(sample, "now", nil, Played{Controls: green, Outcomes: all})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "teeth")
	for range 2 { // the second replaces the first
		if err := whole.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	before, err := ReadMatrix(dir)
	if err != nil {
		t.Fatal(err)
	}
	survived := Outcome{Trial: Trial{Fault: "index-gap", Row: "HTTP-04"}, State: verdict.Passed}
	matrix, err := Join(sample, "now", before, Played{Controls: green, Outcomes: []Outcome{survived}})
	if err != nil || matrix.Killed != 2 || matrix.Faults != 3 {
		t.Errorf("%v: %s, want the earlier outcomes and the new one", err, matrix.Summary())
	}
	if none, err := ReadMatrix(t.TempDir()); none != nil || err != nil {
		t.Errorf("an empty folder gives %v, %v", none, err)
	}
}

func TestAKillNeedsTheMessageThatTheFaultExpects(t *testing.T) {
	trial := Trial{Fault: "drop-end", Row: "HTTP-04"}
	result := func(state verdict.State, outcome verdict.Verdict, messages ...string) verdict.Result {
		row := verdict.Row{ID: "HTTP-04", State: state}
		for _, message := range messages {
			row.Specs = append(row.Specs, verdict.Spec{State: state, Failure: &verdict.Failure{Message: message}})
		}
		return verdict.Result{Verdict: outcome, Line: "line", Rows: []verdict.Row{row, {ID: "HTTP-03", State: verdict.Failed}}}
	}
	const expected = "expected a well-formed event stream, but after 3 events\nthe stream ends without \"end\" or \"error\""
	for name, c := range map[string]struct {
		result    verdict.Result
		exitedRed bool
		want      bool
	}{
		"its message":                     {result(verdict.Failed, verdict.Fail, expected), true, true},
		"its message in the second spec":  {result(verdict.Failed, verdict.Fail, "something else", expected), true, true},
		"another message":                 {result(verdict.Failed, verdict.Fail, "Test Panicked"), true, false},
		"a subject that never started":    {result(verdict.Inconclusive, verdict.Fail), true, false},
		"a row that did not run":          {result(verdict.NotRun, verdict.Incomplete), false, false},
		"a row that passed":               {result(verdict.Passed, verdict.Pass), false, false},
		"a failure that the gate forgave": {result(verdict.Failed, verdict.Pass, expected), true, false},
		"a run that exited 0":             {result(verdict.Failed, verdict.Fail, expected), false, false},
	} {
		outcome := judge(trial, saboteurs.Fault{Name: "drop-end", Expect: `ends without "end" or "error"`}, c.result, c.exitedRed)
		if outcome.Killed != c.want || !slices.Equal(outcome.Others, []string{"HTTP-03"}) {
			t.Errorf("%s: killed %v, others %v", name, outcome.Killed, outcome.Others)
		}
	}
}
