package matchers

import (
	"fmt"
	"touchstone/suites/api"
	"touchstone/suites/wire"

	"github.com/onsi/gomega/types"
)

// BeWellFormedSSE succeeds for a *wire.Stream that is complete and keeps all rules of the event stream: the WHATWG grammar,
// one JSON object on one line an event, ids counting from 0, "started", then tokens with i counting from 0, then exactly one
// "end" or "error".
func BeWellFormedSSE() types.GomegaMatcher { return &wellFormed{check: api.StreamProblem} }

type wellFormed struct {
	check   func(*wire.Stream) string
	problem string
}

func (m *wellFormed) Match(actual any) (bool, error) {
	stream, isStream := actual.(*wire.Stream)
	if !isStream || stream == nil {
		return false, fmt.Errorf("want a *wire.Stream, got %T", actual)
	}
	m.problem = m.check(stream)
	return m.problem == "", nil
}

func (m *wellFormed) FailureMessage(any) string {
	return "expected a well-formed event stream, but " + m.problem + "\n" + Rerun("")
}

func (m *wellFormed) NegatedFailureMessage(any) string {
	return "expected an event stream that breaks a rule, but it keeps all of them"
}
