package target

import (
	"context"
	"sync"

	"touchstone/suites/api"
)

// longRequests remembers, by worker and interface, the request that was found to generate for long.
var longRequests struct {
	sync.Mutex
	found map[[2]string]api.Request
}

const (
	// longEnough is the number of pieces of text with which the search for a long answer is content.
	longEnough = 600
	// longOpenAI bounds it where each try costs a whole answer of a server that may be slow.
	longOpenAI = 96
)

// ramblings are continued for long by many models.
var ramblings = []string{"a", "Write a haiku about GPU computing", "Please write a haiku about rain", "The old pond:", "func main() {"}

// LongRequest keeps a worker busy for as many tokens as can be had. Models end a text when they like, so a few requests that
// make them ramble are tried once, and the longest is kept.
func (t *Target) LongRequest(ctx context.Context, over api.API) api.Request {
	longRequests.Lock()
	defer longRequests.Unlock()
	if longRequests.found == nil {
		longRequests.found = map[[2]string]api.Request{}
	}
	key := [2]string{t.shared.URL, over.Name()}
	best, known := longRequests.found[key]
	if !known {
		best = t.findLong(ctx, over)
		longRequests.found[key] = best
	}
	return best
}

func (t *Target) findLong(ctx context.Context, over api.API) api.Request {
	most, enough := t.room(ctx, over), longEnough
	base := api.Greedy(ramblings[0], most)
	// A penalty below 1 rewards what was said before; a high temperature says anything.
	repeating := base
	repeating.RepetitionPenalty = 0.1
	candidates := []api.Request{repeating, repeating.Sampled(1, 1)}
	for seed := uint64(1); seed <= 12; seed++ {
		candidate := base.Sampled(2, seed)
		if over.Name() != api.Touchstone {
			candidate.Prompt = ramblings[seed%uint64(len(ramblings))]
		}
		candidates = append(candidates, candidate)
	}
	best, length := base, 0
	for _, candidate := range candidates {
		if length >= min(enough, most) {
			break
		}
		stream, err := over.Open(ctx, t.client, candidate, nil)
		if err != nil {
			continue
		}
		if _, err := stream.Finished(); err == nil && len(stream.TextArrivals()) > length {
			best, length = candidate, len(stream.TextArrivals())
		}
		stream.Close()
	}
	return best
}

// room is how many tokens can be asked for after a short prompt.
func (t *Target) room(ctx context.Context, over api.API) int {
	if over.Name() != api.Touchstone {
		return longOpenAI
	}
	const guess, most, promptRoom = 128, 2048, 8
	var health api.Health
	response, err := t.client.Do(ctx, over.Health())
	if err != nil || response.JSON(&health) != nil || health.ContextLength == nil {
		return guess
	}
	return max(1, min(most, *health.ContextLength-promptRoom))
}

// LongJob is LongRequest in the words of POST /execute, under a fresh job id.
func (t *Target) LongJob(ctx context.Context) api.Fields {
	r := t.LongRequest(ctx, t.API(api.Touchstone))
	return api.Generate(r.Prompt, r.MaxTokens).With("temperature", r.Temperature).With("seed", r.Seed).With("repetition_penalty", r.RepetitionPenalty)
}
