package soak

import (
	"touchstone/suites/api"
	"touchstone/suites/target"
)

// topics make prompts that come in pairs: the second of a pair goes on where the first ends.
var topics = []string{
	"winter", "an old pond in the style of bashō", "GPU computing", "the night train to the sea", "rain on a tin roof",
	"a café in Zürich", "3.14159 and other numbers", "silence", "the 😀 in a message", "two\nlines", "frost", "a spider's thread",
}

// continuations end the second prompts of pairs.
var continuations = []string{" and the moon", ", please", " at dawn, in the voice of a tired gardener who counts every syllable on the fingers of one hand"}

// temperatures of drawn requests; 0 is greedy.
var temperatures = []float64{0, 0.7, 1, 1.3}

// NewPlan draws a catalogue of requests from the master seed and offers the factors that the target can vary.
func NewPlan(masterSeed uint64, factors []Factor) Plan {
	plan := Plan{MasterSeed: masterSeed, Factors: factors}
	for i, topic := range topics {
		d := newDraw(masterSeed, -2-i)
		first := "Write a haiku about " + topic
		for _, prompt := range []string{first, first + continuations[d.below(len(continuations))]} {
			request := Request{
				Prompt: prompt, MaxTokens: 4 + d.below(21), Temperature: temperatures[d.below(len(temperatures))], TopP: 1,
				RepetitionPenalty: 1, Seed: d.uint64(),
			}
			switch d.below(4) {
			case 0:
				request.TopK = 1 + d.below(40)
			case 1:
				request.TopP = 0.9
			case 2:
				request.MinP, request.RepetitionPenalty = 0.05, 1.2
			}
			plan.Requests = append(plan.Requests, request)
		}
	}
	return plan
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
