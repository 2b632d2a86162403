package soak

import (
	"encoding/xml"
	"fmt"
	"strings"
	"unicode/utf8"
)

type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name      string        `xml:"name,attr"`
	Classname string        `xml:"classname,attr"`
	Failure   *junitOutcome `xml:"failure,omitempty"`
	Skipped   *junitOutcome `xml:"skipped,omitempty"`
	Output    string        `xml:"system-out,omitempty"`
}

type junitOutcome struct {
	Message string `xml:"message,attr"`
}

// renderJUnit gives one testcase a request, one for all runs together and one for the controls.
func renderJUnit(r *Report) ([]byte, error) {
	suite := junitSuite{Name: legal("determinism soak: " + r.Line), Time: fmt.Sprintf("%.3f", r.Timing.Seconds)}
	add := func(name, output string, problems []string) {
		c := junitCase{Name: legal(name), Classname: "soak", Output: legal(output)}
		suite.Tests++
		if len(problems) > 0 {
			suite.Failures++
			c.Failure = &junitOutcome{Message: legal(strings.Join(problems, "\n"))}
		}
		suite.Cases = append(suite.Cases, c)
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
		suite.Tests++
		suite.Skipped++
		suite.Cases = append(suite.Cases, junitCase{Name: "all runs were done", Classname: "soak", Skipped: &junitOutcome{Message: legal(r.Line)}})
	}
	text, err := xml.MarshalIndent(suite, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", JUnitFile, err)
	}
	return append([]byte(xml.Header), append(text, '\n')...), nil
}

// legal drops what XML cannot hold.
func legal(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r < ' ' && r != '\n' && r != '\t' {
			return '�'
		}
		return r
	}, text)
}
