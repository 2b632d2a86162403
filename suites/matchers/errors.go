package matchers

import (
	"fmt"
	"mime"
	"strings"

	"github.com/onsi/gomega/types"

	"touchstone/native"
	"touchstone/suites/api"
	"touchstone/suites/wire"
)

// HaveErrorCode succeeds for a *wire.Response that refuses with this status and code, in the documented shape: JSON with
// code, message, retriable and correlation_id.
func HaveErrorCode(status int, code string) types.GomegaMatcher {
	return &errorCode{status: status, code: code}
}

type errorCode struct {
	status  int
	code    string
	problem string
}

func (m *errorCode) Match(actual any) (bool, error) {
	response, fits := actual.(*wire.Response)
	if !fits || response == nil {
		return false, fmt.Errorf("HaveErrorCode wants a *wire.Response, got %T", actual)
	}
	m.problem = m.check(response)
	return m.problem == "", nil
}

func (m *errorCode) check(response *wire.Response) string {
	if response.Status != m.status {
		return fmt.Sprintf("the status is %d", response.Status)
	}
	if kind, _, err := mime.ParseMediaType(response.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return fmt.Sprintf("the content type is %q, want application/json", response.Header.Get("Content-Type"))
	}
	var failure api.Failure
	if err := response.JSON(&failure); err != nil {
		return err.Error()
	}
	switch {
	case failure.Code != m.code:
		return fmt.Sprintf("the code is %q", failure.Code)
	case strings.TrimSpace(failure.Message) == "":
		return "the message is empty"
	case failure.Retriable == nil:
		return "the field retriable is missing"
	case failure.CorrelationID == "":
		return "the field correlation_id is missing"
	}
	return ""
}

func (m *errorCode) FailureMessage(actual any) string {
	response := actual.(*wire.Response)
	return fmt.Sprintf("expected the refusal %d %s, but %s\nbody %.400s\n%s", m.status, m.code, m.problem, response.Body, Rerun(""))
}

func (m *errorCode) NegatedFailureMessage(any) string {
	return fmt.Sprintf("expected anything but the refusal %d %s", m.status, m.code)
}

// HaveStatus succeeds for an error that carries this status of the ABI, in a text that contains all of parts.
func HaveStatus(status native.Status, parts ...string) types.GomegaMatcher {
	return &nativeStatus{status: status, parts: parts}
}

type nativeStatus struct {
	status native.Status
	parts  []string
}

func (m *nativeStatus) Match(actual any) (bool, error) {
	err, isError := actual.(error)
	if actual != nil && !isError {
		return false, fmt.Errorf("HaveStatus wants an error, got %T", actual)
	}
	if native.StatusOf(err) != m.status {
		return false, nil
	}
	for _, part := range m.parts {
		if !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(part)) {
			return false, nil
		}
	}
	return true, nil
}

func (m *nativeStatus) FailureMessage(actual any) string {
	return fmt.Sprintf("expected the status %s with a text that names %q\ngot %v\n%s", m.status, m.parts, actual, Rerun(""))
}

func (m *nativeStatus) NegatedFailureMessage(actual any) string {
	return fmt.Sprintf("expected anything but the status %s, got %v\n%s", m.status, actual, Rerun(""))
}
