package matchers

import (
	"fmt"

	"github.com/onsi/gomega/types"
)

// BeAsExpected succeeds for a nil error. Any other is what differs from an expectation, and its text is the whole message: it says
// what was expected, what came, where they part and which case to run again.
func BeAsExpected() types.GomegaMatcher { return asExpected{} }

type asExpected struct{}

func (asExpected) Match(actual any) (bool, error) {
	if actual == nil {
		return true, nil
	}
	if _, isError := actual.(error); !isError {
		return false, fmt.Errorf("BeAsExpected wants an error or nil, got %T", actual)
	}
	return false, nil
}

func (asExpected) FailureMessage(actual any) string { return actual.(error).Error() }

func (asExpected) NegatedFailureMessage(any) string {
	return "expected a difference, but there is none"
}
