package soak

import (
	"context"
	"fmt"
	"sync/atomic"

	"touchstone/reports/soak"
	"touchstone/suites/expectation"
)

// Flip is a negative control: an executor that flips one token of the drawn request in one execution of N, outside the
// subject. A soak through it must fail and name the run and the step.
type Flip struct {
	Executor
	N    int    // at least 1
	Seed uint64 // draws which execution of each N, and which token

	executions atomic.Int64
}

// Subject names the fault beside the worker, so that the report of a control is never taken for another.
func (f *Flip) Subject() soak.Subject {
	subject := f.Executor.Subject()
	subject.Worker += fmt.Sprintf(" with one token flipped in one run of %d", f.N)
	return subject
}

// Execute executes a run and flips a token if it is the run's turn.
func (f *Flip) Execute(ctx context.Context, plan *soak.Plan, run soak.Run) (Execution, error) {
	execution, err := f.Executor.Execute(ctx, plan, run)
	n := int(f.executions.Add(1) - 1)
	random := expectation.Random(f.Seed, n/f.N)
	if random.IntN(f.N) != n%f.N {
		return execution, err
	}
	for i, answer := range execution.Answers {
		if steps := answer.Outcome.Steps(); answer.Role == soak.SubjectRole && steps > 0 {
			execution.Answers[i].Outcome = answer.Outcome.Flip(random.IntN(steps))
		}
	}
	return execution, err
}
