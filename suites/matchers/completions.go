package matchers

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"

	"github.com/onsi/gomega/types"

	"touchstone/suites/target"
)

// BeWellFormedCompletion succeeds for a *target.Stream of the OpenAI API that is complete and keeps all rules: the WHATWG
// grammar, one JSON object on one line an event, one choice with index 0 a chunk, exactly one finish_reason, after which at
// most the usage comes, and exactly one [DONE], the last.
func BeWellFormedCompletion() types.GomegaMatcher { return &wellFormed{check: CompletionProblem} }

// CompletionProblem is the first rule that a complete stream of the OpenAI API breaks, or "".
func CompletionProblem(stream *target.Stream) string {
	if problem := framingProblem(stream); problem != "" {
		return problem
	}
	events := stream.Events()
	finished, done := -1, -1
	for i, event := range events {
		switch {
		case done >= 0:
			return fmt.Sprintf("event %d comes after event %d, which was [DONE]: %.200q", i, done, event.Data)
		case event.Type != "message":
			return fmt.Sprintf("event %d has the type %q, want none", i, event.Type)
		case stream.Parsed().Events[i].Lines != 1:
			return fmt.Sprintf("event %d has %d data lines, want 1", i, stream.Parsed().Events[i].Lines)
		case event.Data == target.Done:
			done = i
			continue
		}
		var chunk target.CompletionBody
		if err := json.Unmarshal([]byte(event.Data), &chunk); err != nil {
			return fmt.Sprintf("the data of event %d is not the JSON of a chunk: %v\n%.200q", i, err, event.Data)
		}
		if problem := chunkProblem(chunk); problem != "" {
			return fmt.Sprintf("event %d: %s\n%.200q", i, problem, event.Data)
		}
		if len(chunk.Choices) == 0 {
			continue // the usage
		}
		if finished >= 0 {
			return fmt.Sprintf("event %d is a choice after event %d, which had the finish_reason: %.200q", i, finished, event.Data)
		}
		if chunk.Choices[0].FinishReason != nil {
			finished = i
		}
	}
	switch {
	case finished < 0:
		return fmt.Sprintf("the stream of %d events has no finish_reason", len(events))
	case done < 0:
		return fmt.Sprintf("after %d events the stream ends without [DONE]", len(events))
	}
	return ""
}

func chunkProblem(chunk target.CompletionBody) string {
	switch {
	case len(chunk.Error) > 0:
		return "the stream ends with an error"
	case len(chunk.Choices) == 0 && chunk.Usage == nil:
		return "a chunk with neither choice nor usage"
	case len(chunk.Choices) > 1:
		return fmt.Sprintf("a chunk with %d choices, want 1", len(chunk.Choices))
	case len(chunk.Choices) == 1 && (chunk.Choices[0].Index == nil || *chunk.Choices[0].Index != 0):
		return "a choice whose index is not 0"
	case len(chunk.Choices) == 1 && chunk.Choices[0].Text == nil && chunk.Choices[0].Delta == nil:
		return "a choice with neither text nor delta"
	}
	return ""
}

// HaveOpenAIError succeeds for a *target.Response that refuses with one of the statuses in the shape of the OpenAI API: JSON
// with an object "error" that has a message.
func HaveOpenAIError(statuses ...int) types.GomegaMatcher { return &openAIError{statuses: statuses} }

type openAIError struct {
	statuses []int
	problem  string
}

func (m *openAIError) Match(actual any) (bool, error) {
	response, fits := actual.(*target.Response)
	if !fits || response == nil {
		return false, fmt.Errorf("HaveOpenAIError wants a *target.Response, got %T", actual)
	}
	m.problem = m.check(response)
	return m.problem == "", nil
}

func (m *openAIError) check(response *target.Response) string {
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
		"got: %s · body %.300q\n%s", m.problem, m.statuses, m.problem, actual.(*target.Response).Body, Rerun(""))
}

func (m *openAIError) NegatedFailureMessage(any) string {
	return fmt.Sprintf("expected anything but a refusal with a status of %v", m.statuses)
}
