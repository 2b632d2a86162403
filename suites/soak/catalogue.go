package soak

import (
	"touchstone/suites/api"
	"touchstone/suites/expectation"
	"touchstone/suites/target"
)

// pairs is how many pairs of requests a plan has.
const pairs = 12

// NewPlan draws requests that nobody can foresee who does not know the master seed, in pairs that share a prefix, and offers the
// factors that the target can vary.
func NewPlan(masterSeed uint64, t *target.Target) Plan {
	plan := Plan{MasterSeed: masterSeed, Factors: Offered(t)}
	for i := range pairs {
		for _, q := range expectation.Pair(masterSeed, i, takes(t.Profile.API)) {
			plan.Requests = append(plan.Requests, Request{
				Prompt: q.Prompt.Text, MaxTokens: q.MaxTokens, Temperature: q.Temperature, TopK: q.TopK, TopP: q.TopP, MinP: q.MinP,
				RepetitionPenalty: q.RepetitionPenalty, Seed: q.SamplingSeed,
			})
		}
	}
	return plan
}

// takes is what requests over an API have words for.
func takes(name string) expectation.Offer {
	if name == api.Touchstone {
		return expectation.Everything()
	}
	return expectation.Offer{Text: true, SeedBits: 31, MaxTokens: 2048}
}

// The factors that executors know, beside Route and Company.
const (
	Process  = "process"  // "running" or "fresh"
	Arrival  = "arrival"  // of the company: "together", "before" or "after" the drawn request
	Cache    = "cache"    // what ran just before: nothing, the same request, or one that shares a prefix with it
	Threads  = "threads"  // of the CPU
	ISA      = "isa"      // instruction set of the CPU
	Chunking = "chunking" // most prompt tokens of a step: a number, or "whole"
)

// The levels of Route.
const (
	OverHTTP   = "http"
	OverNative = "native"
)

// Offered are the factors that the target can vary. A worker that is only reached by its URL gets company and a history;
// one that the harness starts gets fresh processes; the bundled one also threads and instruction sets, and its native
// library is asked directly, with chunks and shared prefixes as drawn.
func Offered(t *target.Target) []Factor {
	company := Factor{Name: Company, Levels: []Level{{"0", 3}, {"1", 2}, {"3", 2}, {"7", 1}}}
	arrival := Factor{Name: Arrival, Levels: []Level{{"together", 2}, {"before", 1}, {"after", 1}}}
	cache := Factor{Name: Cache, Levels: []Level{{"cold", 2}, {"warm", 1}, {"shared", 1}}}
	process := Factor{Name: Process, Levels: []Level{{"running", 9}, {"fresh", 1}}}
	switch {
	case !t.Has(target.Restart):
		return []Factor{company, arrival, cache}
	case !t.Profile.Bundled() || t.Profile.API != api.Touchstone: // the native route is asked what /execute is
		return []Factor{process, company, arrival, cache}
	}
	factors := []Factor{process, company, arrival, cache}
	if t.Profile.Device == "auto" || t.Profile.Device == "cpu" {
		factors = append(factors,
			Factor{Name: Threads, Levels: []Level{{"1", 12}, {"2", 3}, {"3", 1}}},
			// The scalar kernels emulate fused multiply-add: a run takes some 50 times as long, so few are drawn.
			Factor{Name: ISA, Levels: []Level{{"auto", 99}, {"scalar", 1}}})
	}
	if !t.Has(target.Native) {
		return factors
	}
	route := Factor{Name: Route, Levels: []Level{{OverHTTP, 2}, {OverNative, 1}}}
	chunking := Factor{Name: Chunking, On: OverNative, Levels: []Level{{"whole", 1}, {"1", 1}, {"7", 1}, {"32", 1}}}
	return append(append([]Factor{route}, factors...), chunking)
}
