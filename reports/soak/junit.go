package soak

import (
	"fmt"
	"strings"

	"touchstone/reports/junit"
	"touchstone/reports/verdict"
)

// renderJUnit gives one testcase a request, one for all runs together and one for the controls.
func renderJUnit(r *Report) ([]byte, error) {
	var cases []junit.Case
	add := func(name, output string, problems []string) {
		c := junit.Case{Name: name, Output: output, State: verdict.Passed}
		if len(problems) > 0 {
			c.State, c.Reason = verdict.Failed, strings.Join(problems, "\n")
		}
		cases = append(cases, c)
	}
	var failures []string
	for _, failure := range r.Failures {
		failures = append(failures, fmt.Sprintf("run %d: %s", failure.Run, failure.Error))
	}
	add("every run has an answer", r.claim(), failures)
	add("negative controls and agreement of shards", strings.Join(r.Controls.sentences(), "\n"), r.Problems)
	for _, row := range r.Requests {
		var divergences []string
		for _, d := range r.Divergences {
			if d.Request == row.Request {
				divergences = append(divergences, d.String())
			}
		}
		if row.Distinct > 1 && len(divergences) == 0 {
			divergences = []string{fmt.Sprintf("%d distinct outputs", row.Distinct)}
		}
		add(fmt.Sprintf("request %d has one distinct output: %s", row.Request, row.Prompt), plural(row.Outputs, "output"), divergences)
	}
	if r.Verdict == "INCOMPLETE" {
		cases = append(cases, junit.Case{Name: "all runs were done", State: verdict.NotRun, Reason: r.Line})
	}
	text, err := junit.EncodeCases("determinism soak: "+r.Line, "soak", r.Timing.Seconds, cases)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", JUnitFile, err)
	}
	return text, nil
}
