package soak_test

import (
	"context"

	"touchstone/reports/soak"
	"touchstone/reports/soak/soaktest"
	soaking "touchstone/suites/soak"
)

// fakeExecutor answers with tokens that are a function of the request alone, as a deterministic worker would.
type fakeExecutor struct {
	// spoil, if set, tells whether a token of the drawn request differs in this run.
	spoil func(soak.Run) bool
	// fail, if set, is why the run has no answer.
	fail func(soak.Run) error
	// deaf ignores the seed of requests.
	deaf bool
}

func (f *fakeExecutor) Subject() soak.Subject { return soak.Subject{Harness: "test", Worker: "fake"} }
func (f *fakeExecutor) Close() error          { return nil }

func (f *fakeExecutor) Reference(_ context.Context, request soak.Request) (soak.Outcome, error) {
	return f.outcome(request), nil
}

func (f *fakeExecutor) Execute(ctx context.Context, plan *soak.Plan, run soak.Run) (soaking.Execution, error) {
	var execution soaking.Execution
	if err := ctx.Err(); err != nil {
		return execution, err
	}
	if f.fail != nil {
		if err := f.fail(run); err != nil {
			return execution, err
		}
	}
	execution.Answers = soaktest.Answers(plan, run)
	if f.deaf {
		for i, answer := range execution.Answers {
			execution.Answers[i].Outcome = f.outcome(plan.Requests[answer.Request])
		}
	}
	if f.spoil != nil && f.spoil(run) {
		execution.Answers[0].Outcome.Tokens[3]++
	}
	execution.RSS = map[string]uint64{"harness": 1 << 20}
	return execution, nil
}

func (f *fakeExecutor) outcome(request soak.Request) soak.Outcome {
	if f.deaf {
		request.Seed = 0
	}
	return soaktest.Outcome(request)
}

func header(plan soak.Plan, shard soak.Shard) soak.Header {
	return soak.NewHeader(plan, (&fakeExecutor{}).Subject(), shard, "test")
}
