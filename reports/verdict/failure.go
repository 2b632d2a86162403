package verdict

import (
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

func newFailure(raw types.SpecReport) *Failure {
	failure := &Failure{How: raw.State.String(), Message: strings.TrimSpace(raw.Failure.Message), Location: location(raw.Failure.Location)}
	if raw.Failure.ForwardedPanic != "" {
		failure.Message += ": " + raw.Failure.ForwardedPanic
	}
	labels := labelled(failure.Message)
	failure.Expected, failure.Got, failure.Divergence = labels["expected"], labels["got"], labels["first divergence"]
	failure.rerun = labels["rerun"]
	if failure.Expected == "" && failure.Got == "" {
		failure.Expected, failure.Got = gomegaSides(failure.Message)
	}
	return failure
}

// brief is the failure in one line: the first line of its message, unless that is only the beginning
// of Gomega's common form.
func (f *Failure) brief() string {
	first := oneLine(f.Message)
	if first == "Expected" && f.Expected != "" {
		return "expected " + f.Got + " " + f.Expected
	}
	return first
}

// labelled finds the lines that begin "expected:", "got:", "first divergence:" and "rerun:" (in any
// case), which the harness's own matchers write. Of several the first counts.
func labelled(message string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(message) {
		label, value, _ := strings.Cut(line, ":")
		label = strings.ToLower(strings.TrimSpace(label))
		if _, seen := found[label]; !seen {
			found[label] = strings.TrimSpace(value)
		}
	}
	return found
}

// gomegaSides splits Gomega's common form, "Expected\n    <actual>\nto equal\n    <expected>": the
// line that is not indented tells the relation.
func gomegaSides(message string) (expected, got string) {
	_, rest, found := strings.Cut("\n"+message, "\nExpected\n")
	if !found {
		return "", ""
	}
	var actual, wanted []string
	relation := ""
	for line := range strings.Lines(rest) {
		line = strings.TrimRight(line, "\n")
		indented := strings.HasPrefix(line, "    ")
		switch {
		case !indented && relation == "" && line != "":
			relation = line
		case relation == "":
			actual = append(actual, strings.TrimSpace(line))
		case indented:
			wanted = append(wanted, strings.TrimSpace(line))
		}
	}
	if relation == "" {
		return "", ""
	}
	return strings.TrimSpace(relation + " " + strings.Join(wanted, " ")), strings.Join(actual, " ")
}
