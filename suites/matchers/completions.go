package matchers

import (
	"fmt"
	"mime"
	"strings"
	"touchstone/suites/api"
	"touchstone/suites/wire"

	"github.com/onsi/gomega/types"
)

// BeWellFormedCompletion succeeds for a *wire.Stream of the OpenAI API that is complete and keeps all rules: the WHATWG
// grammar, one JSON object on one line an event, one choice with index 0 a chunk, exactly one finish_reason, after which at
// most the usage comes, and exactly one [DONE], the last.
func BeWellFormedCompletion() types.GomegaMatcher { return &wellFormed{check: api.CompletionProblem} }

// HaveOpenAIError succeeds for a *wire.Response that refuses with one of the statuses in the shape of the OpenAI API: JSON
// with an object "error" that has a message.
func HaveOpenAIError(statuses ...int) types.GomegaMatcher { return &openAIError{statuses: statuses} }

type openAIError struct {
	statuses []int
	problem  string
}

func (m *openAIError) Match(actual any) (bool, error) {
	response, fits := actual.(*wire.Response)
	if !fits || response == nil {
		return false, fmt.Errorf("HaveOpenAIError wants a *wire.Response, got %T", actual)
	}
	m.problem = m.check(response)
	return m.problem == "", nil
}

func (m *openAIError) check(response *wire.Response) string {
	expected := false
	for _, status := range m.statuses {
		expected = expected || response.Status == status
	}
	if !expected {
		return fmt.Sprintf("the status %d", response.Status)
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return fmt.Sprintf("the content type %q", response.Header.Get("Content-Type"))
	}
	var body struct {
		Error *struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if err := response.JSON(&body); err != nil {
		return "an error without the object error: " + err.Error()
	}
	if body.Error == nil || strings.TrimSpace(body.Error.Message) == "" {
		return "an error without error.message"
	}
	return ""
}

func (m *openAIError) FailureMessage(actual any) string {
	return fmt.Sprintf("no refusal as it should be, but %s\nexpected: a status of %v, as application/json with error.message\n"+
		"got: %s · body %.300q\n%s", m.problem, m.statuses, m.problem, actual.(*wire.Response).Body, Rerun(""))
}

func (m *openAIError) NegatedFailureMessage(any) string {
	return fmt.Sprintf("expected anything but a refusal with a status of %v", m.statuses)
}
