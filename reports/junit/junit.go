// Package junit writes a gate's result as JUnit XML in the form that Jenkins, GitHub and GitLab read:
// one testcase a spec, NOT RUN as skipped with its reason, INCONCLUSIVE as error, FAILED as failure.
package junit

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"
	"time"

	"touchstone/reports/evidence"
	"touchstone/reports/harmless"
	"touchstone/reports/verdict"
)

type testsuites struct {
	XMLName  xml.Name    `xml:"testsuites"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Time     string      `xml:"time,attr"`
	Suites   []testsuite `xml:"testsuite"`
}

type testsuite struct {
	Name       string     `xml:"name,attr"`
	Tests      int        `xml:"tests,attr"`
	Failures   int        `xml:"failures,attr"`
	Errors     int        `xml:"errors,attr"`
	Skipped    int        `xml:"skipped,attr"`
	Time       string     `xml:"time,attr"`
	Timestamp  string     `xml:"timestamp,attr,omitempty"`
	Properties []property `xml:"properties>property,omitempty"`
	Cases      []testcase `xml:"testcase"`
}

type property struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type testcase struct {
	Name      string   `xml:"name,attr"`
	Classname string   `xml:"classname,attr"`
	Time      string   `xml:"time,attr"`
	Skipped   *skipped `xml:"skipped,omitempty"`
	Error     *outcome `xml:"error,omitempty"`
	Failure   *outcome `xml:"failure,omitempty"`
	SystemOut string   `xml:"system-out,omitempty"`
}

type skipped struct {
	Message string `xml:"message,attr"`
}

type outcome struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

// Encode returns the result as JUnit XML, one testsuite a layer. A row without a spec, a row whose
// state is worse than its specs' (unproven, an outdated waiver) and a failure outside of the specs
// each get a testcase of their own.
func Encode(result verdict.Result) ([]byte, error) {
	all := testsuites{Name: result.Gate + " " + result.Title, Time: seconds(result.Ended.Sub(result.Started).Seconds())}
	for _, group := range layers(result) {
		suite := testsuite{Name: clean(result.Gate + " " + group.name), Timestamp: result.Started.UTC().Format("2006-01-02T15:04:05"),
			Properties: []property{{"verdict", clean(result.Line)}, {"registry", result.RegistrySHA256}, {"layer", clean(group.name)}}}
		total := 0.0
		for _, row := range group.rows {
			total += row.Seconds
			suite.Cases = append(suite.Cases, casesOf(result, row)...)
		}
		suite.Time = seconds(total)
		all.add(suite)
	}
	if cases := problemCases(result); len(cases) > 0 {
		all.add(testsuite{Name: result.Gate + " suite", Time: seconds(0), Timestamp: result.Started.UTC().Format("2006-01-02T15:04:05"), Cases: cases})
	}
	return encode(all)
}

func encode(all testsuites) ([]byte, error) {
	var buffer bytes.Buffer
	buffer.WriteString(xml.Header)
	encoder := xml.NewEncoder(&buffer)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return nil, err
	}
	buffer.WriteByte('\n')
	return buffer.Bytes(), nil
}

func (t *testsuites) add(suite testsuite) {
	for _, c := range suite.Cases {
		suite.Tests++
		switch {
		case c.Failure != nil:
			suite.Failures++
		case c.Error != nil:
			suite.Errors++
		case c.Skipped != nil:
			suite.Skipped++
		}
	}
	t.Tests += suite.Tests
	t.Failures += suite.Failures
	t.Errors += suite.Errors
	t.Suites = append(t.Suites, suite)
}

type layer struct {
	name string
	rows []verdict.Row
}

func layers(result verdict.Result) []layer {
	var groups []layer
	index := map[string]int{}
	for _, row := range result.Rows {
		i, seen := index[row.Layer]
		if !seen {
			i = len(groups)
			index[row.Layer] = i
			groups = append(groups, layer{name: row.Layer})
		}
		groups[i].rows = append(groups[i].rows, row)
	}
	return groups
}

func casesOf(result verdict.Result, row verdict.Row) []testcase {
	class := clean(fmt.Sprintf("%s.%s %s", result.Gate, row.ID, row.Title))
	var cases []testcase
	shown := false
	for _, spec := range row.Specs {
		c := testcase{Name: clean(spec.Text), Classname: class, Time: seconds(spec.Seconds)}
		c.set(spec.State, spec.Reason, details(spec))
		shown = shown || spec.State == row.State
		cases = append(cases, c)
		cases = append(cases, missingCases(class, spec)...)
	}
	if !shown {
		c := testcase{Name: clean(row.ID + " " + row.Title), Classname: class, Time: seconds(0)}
		c.set(row.State, strings.Join(row.Reasons, "; "), "")
		cases = append(cases, c)
	}
	return cases
}

// missingCases are the parts of a spec that did not run beside what did.
func missingCases(class string, spec verdict.Spec) []testcase {
	var cases []testcase
	for _, entry := range spec.Evidence {
		if entry.Kind != evidence.KindNotRun || spec.State != verdict.Passed {
			continue
		}
		c := testcase{Name: clean(spec.Text + ": " + entry.Name), Classname: class, Time: seconds(0)}
		c.set(verdict.NotRun, entry.Reason, "")
		cases = append(cases, c)
	}
	return cases
}

func (c *testcase) set(state verdict.State, reason, text string) {
	reason = clean(reason)
	switch state {
	case verdict.Passed:
	case verdict.NotRun:
		c.Skipped = &skipped{Message: reason}
	case verdict.Failed:
		c.Failure = &outcome{Message: reason, Type: string(state), Text: clean(text)}
	case verdict.Inconclusive, verdict.Unproven:
		c.Error = &outcome{Message: reason, Type: string(state), Text: clean(text)}
	}
}

func details(spec verdict.Spec) string {
	if spec.Failure == nil {
		return spec.Location
	}
	return fmt.Sprintf("%s\n\nat %s\nrun again: %s\n", spec.Failure.Message, spec.Failure.Location, spec.Rerun)
}

// problemCases is what keeps CI from reading a broken or partial run as a good one.
func problemCases(result verdict.Result) []testcase {
	var cases []testcase
	for i, problem := range result.Problems {
		c := testcase{Name: fmt.Sprintf("problem %d", i+1), Classname: result.Gate + ".suite", Time: seconds(0)}
		c.set(verdict.Failed, "failed outside of the specs", problem)
		cases = append(cases, c)
	}
	for _, restriction := range result.Restrictions {
		c := testcase{Name: clean("full run: " + restriction), Classname: result.Gate + ".suite", Time: seconds(0)}
		c.set(verdict.NotRun, "not a full run: "+restriction, "")
		cases = append(cases, c)
	}
	return cases
}

func seconds(value float64) string {
	return fmt.Sprintf("%.3f", (time.Duration(value * float64(time.Second))).Seconds())
}

// clean drops the two characters that are harmless elsewhere, but that XML 1.0 cannot hold even escaped.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, harmless.Text(text))
}
