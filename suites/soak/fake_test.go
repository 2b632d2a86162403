package soak_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"

	"touchstone/reports/soak"
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
	add := func(role string, request int) {
		execution.Answers = append(execution.Answers, soak.Answer{Role: role, Request: request, Outcome: f.outcome(plan.Requests[request])})
	}
	add(soak.SubjectRole, run.Request)
	for i, request := range run.Company {
		add("company "+strconv.Itoa(i+1), request)
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
	encoded, err := json.Marshal(request)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(encoded)
	o := soak.Outcome{StopReason: "max_tokens", LogitsSHA256: fmt.Sprintf("%x", sum)}
	for i := range request.MaxTokens {
		o.Tokens = append(o.Tokens, int32(sum[i%len(sum)]))
		o.Logprobs = append(o.Logprobs, -float64(sum[i%len(sum)])/16)
		o.Pieces = append(o.Pieces, string(rune('a'+sum[i%len(sum)]%26)))
	}
	return o
}

func fakePlan(masterSeed uint64) soak.Plan {
	var requests []soak.Request
	for i := range 6 {
		requests = append(requests, soak.Request{
			Prompt: "prompt " + strconv.Itoa(i), MaxTokens: 5 + i, Temperature: float64(i) / 4, TopP: 1, RepetitionPenalty: 1, Seed: masterSeed + uint64(i),
		})
	}
	levels := func(names ...string) []soak.Level {
		var out []soak.Level
		for _, name := range names {
			out = append(out, soak.Level{Name: name, Weight: 1})
		}
		return out
	}
	return soak.Plan{MasterSeed: masterSeed, Requests: requests, Factors: []soak.Factor{
		{Name: soak.Route, Levels: levels("http", "native")},
		{Name: "process", Levels: levels("fresh", "running")},
		{Name: "threads", Levels: levels("1", "2", "4")},
		{Name: soak.Company, Levels: levels("0", "1", "3")},
		{Name: "cache", Levels: levels("cold", "warm", "shared")},
		{Name: "chunking", Levels: levels("whole", "1", "7"), On: "native"},
	}}
}

func header(plan soak.Plan, shard soak.Shard) soak.Header {
	return soak.NewHeader(plan, (&fakeExecutor{}).Subject(), shard, "test")
}
