// Package soaktest holds a plan, and the answers of a subject whose tokens are a function of the request alone, for tests.
package soaktest

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strconv"

	"touchstone/reports/soak"
)

// Plan is a small plan with every kind of factor.
func Plan(masterSeed uint64) soak.Plan {
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

// Outcome is what the subject answers to a request.
func Outcome(request soak.Request) soak.Outcome {
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

// Answers are those of a run.
func Answers(plan *soak.Plan, run soak.Run) []soak.Answer {
	answers := []soak.Answer{{Role: soak.SubjectRole, Request: run.Request, Outcome: Outcome(plan.Requests[run.Request])}}
	for i, request := range run.Company {
		answers = append(answers, soak.Answer{Role: "company " + strconv.Itoa(i+1), Request: request, Outcome: Outcome(plan.Requests[request])})
	}
	return answers
}
