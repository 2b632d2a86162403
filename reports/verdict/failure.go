package verdict

import (
	"regexp"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// rerunMark stands before the command in a message that WithRerun made.
const rerunMark = "\nrerun: "

// WithRerun adds to the message of a failure the command that runs its spec again, and of it only the case that it names.
func WithRerun(message string, options Options, text string) string {
	return strings.TrimRight(message, "\n") + rerunMark + options.Again(text, labelled(message)["case"])
}

func newFailure(raw types.SpecReport) *Failure {
	message, _, _ := strings.Cut(raw.Failure.Message, rerunMark)
	failure := &Failure{How: raw.State.String(), Message: strings.TrimSpace(message), Location: location(raw.Failure.Location)}
	if raw.Failure.ForwardedPanic != "" {
		failure.Message += ": " + raw.Failure.ForwardedPanic
	}
	labels := labelled(failure.Message)
	failure.Expected, failure.Got, failure.Divergence = labels["expected"], labels["got"], labels["first divergence"]
	failure.oneCase = labels["case"]
	if failure.Expected == "" && failure.Got == "" {
		failure.Expected, failure.Got = gomegaSides(failure.Message)
	}
	return failure
}

// brief is the failure in one line.
func (f *Failure) brief() string {
	if oneLine(f.Message) == "Expected" && f.Expected != "" {
		return "expected " + f.Got + " " + f.Expected
	}
	return essence(f.Message)
}

// typeNote is Gomega's note of a value's type, and of the address where it lay.
var typeNote = regexp.MustCompile(`^<[^>]*>:\s*`)

// essence is the line of a message that says most: the first, unless that is the head of a form in which Gomega shows an
// error; then the error's own text.
func essence(message string) string {
	head, rest, _ := strings.Cut(strings.TrimSpace(message), "\n")
	if !strings.HasSuffix(head, "error:") {
		return strings.TrimSpace(head)
	}
	for line := range strings.Lines(rest) {
		if line = typeNote.ReplaceAllString(strings.TrimSpace(line), ""); line != "" {
			return line
		}
	}
	return head
}

// labelled finds the lines that begin "expected:", "got:", "first divergence:" and "case:" (in any
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
