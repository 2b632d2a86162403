package target

import (
	"context"
	"sync"
)

// longJobs remembers, by worker, the request that was found to generate for long.
var longJobs struct {
	sync.Mutex
	found map[string]Fields
}

// longEnough is the number of tokens with which the search for a long job is content.
const longEnough = 600

// LongJob is a request under a fresh job id that keeps the worker busy for as many tokens as can be had. Models end a text
// when they like, so a few requests that make them ramble are tried once, and the longest is kept.
func (t *Target) LongJob(ctx context.Context) Fields {
	longJobs.Lock()
	defer longJobs.Unlock()
	if longJobs.found == nil {
		longJobs.found = map[string]Fields{}
	}
	best, known := longJobs.found[t.shared.URL]
	if !known {
		best = t.findLongJob(ctx)
		longJobs.found[t.shared.URL] = best
	}
	return best.With("job_id", NewJobID())
}

func (t *Target) findLongJob(ctx context.Context) Fields {
	prompt := "a"
	most := max(1, min(2048, t.contextLength(ctx)-8*len(prompt)))
	base := Generate(prompt, most)
	// A penalty below 1 rewards what was said before; a high temperature says anything.
	candidates := []Fields{
		base.With("repetition_penalty", 0.1),
		base.With("temperature", 1.0).With("repetition_penalty", 0.1),
	}
	for seed := 1; seed <= 10; seed++ {
		candidates = append(candidates, base.With("temperature", 2.0).With("seed", seed))
	}
	best, length := base, 0
	for _, candidate := range candidates {
		if length >= min(longEnough, most) {
			break
		}
		stream, err := t.client.Execute(ctx, candidate.With("job_id", NewJobID()))
		if err != nil {
			continue
		}
		if generation, err := stream.Generation(); err == nil && len(generation.Tokens) > length {
			best, length = candidate, len(generation.Tokens)
		}
	}
	return best
}

// contextLength is what /health says, or a small guess for a worker that does not say.
func (t *Target) contextLength(ctx context.Context) int {
	const guess = 128
	response, err := t.client.Do(ctx, Get("/health"))
	if err != nil {
		return guess
	}
	var health Health
	if err := response.JSON(&health); err != nil || health.ContextLength == nil {
		return guess
	}
	return *health.ContextLength
}
