// Package soak asks a target again and again, under conditions that must not matter, whether its outputs are always the same.
//
// NewPlan draws the requests, an Executor sends them, and Soak records every run in a ledger of package reports/soak, which
// computes the report.
package soak

import (
	"touchstone/reports/soak"
	"touchstone/suites/api"
	"touchstone/suites/expectation"
	"touchstone/suites/target"
)

// pairs is how many pairs of requests a plan has.
const pairs = 12

// NewPlan draws requests that nobody can foresee who does not know the master seed, in pairs that share a prefix, and offers the
// factors that the target can vary.
func NewPlan(masterSeed uint64, t *target.Target) soak.Plan {
	plan := soak.Plan{MasterSeed: masterSeed, Factors: Offered(t)}
	for i := range pairs {
		for _, q := range expectation.Pair(masterSeed, i, takes(t.Profile.API)) {
			plan.Requests = append(plan.Requests, soak.Request{
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

func level(name string, weight int) soak.Level { return soak.Level{Name: name, Weight: weight} }

// Offered are the factors that the target can vary. A worker that is only reached by its URL gets company and a history;
// one that the harness starts gets fresh processes; the bundled one also threads and instruction sets, and its native
// library is asked directly, with chunks and shared prefixes as drawn.
func Offered(t *target.Target) []soak.Factor {
	company := soak.Factor{Name: soak.Company, Levels: []soak.Level{level("0", 3), level("1", 2), level("3", 2), level("7", 1)}}
	arrival := soak.Factor{Name: Arrival, Levels: []soak.Level{level("together", 2), level("before", 1), level("after", 1)}}
	cache := soak.Factor{Name: Cache, Levels: []soak.Level{level("cold", 2), level("warm", 1), level("shared", 1)}}
	process := soak.Factor{Name: Process, Levels: []soak.Level{level("running", 9), level("fresh", 1)}}
	switch {
	case !t.Has(target.Restart):
		return []soak.Factor{company, arrival, cache}
	case !t.Profile.Bundled() || t.Profile.API != api.Touchstone: // the native route is asked what /execute is
		return []soak.Factor{process, company, arrival, cache}
	}
	factors := []soak.Factor{process, company, arrival, cache}
	if t.Profile.Device == "auto" || t.Profile.Device == "cpu" {
		factors = append(factors,
			soak.Factor{Name: Threads, Levels: []soak.Level{level("1", 12), level("2", 3), level("3", 1)}},
			// The scalar kernels emulate fused multiply-add: a run takes some 50 times as long, so few are drawn.
			soak.Factor{Name: ISA, Levels: []soak.Level{level("auto", 99), level("scalar", 1)}})
	}
	if !t.Has(target.Native) {
		return factors
	}
	route := soak.Factor{Name: soak.Route, Levels: []soak.Level{level(OverHTTP, 2), level(OverNative, 1)}}
	chunking := soak.Factor{Name: Chunking, On: OverNative, Levels: []soak.Level{level("whole", 1), level("1", 1), level("7", 1), level("32", 1)}}
	return append(append([]soak.Factor{route}, factors...), chunking)
}
