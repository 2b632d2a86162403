package engine

import (
	"cmp"
	"slices"

	"touchstone/native"
	"touchstone/worker/internal/problem"
)

// scoredRows bounds the prompt tokens of a step whose logits are all handed out: each is a row of the whole vocabulary.
const scoredRows = 32

// oldestShare is the part of a step's room for prompts that the job that came first has for itself, so that short prompts,
// which go first, never keep it out.
const oldestShare = 4

// batch is what one step evaluates: the next token of every job that decodes and, in what room is left, prompts.
type batch struct {
	items  []native.StepItem
	jobs   []*Job
	rows   int // tokens in it
	prompt int // those of prompts
}

func (b *batch) add(job *Job, tokens []int32, choose bool) {
	g := job.generation
	item := native.StepItem{Session: job.sequence.session, Tokens: tokens, Logits: g.logits}
	if choose {
		item.Sampling = g.nextSampling()
		if job.request.LogitsHash {
			item.Want = native.LogitsLast
		}
	}
	if job.request.ScorePrompt && !g.decoding() {
		item.Want = native.LogitsAll
	}
	b.items, b.jobs = append(b.items, item), append(b.jobs, job)
	b.rows += len(tokens)
}

// compose makes the batch of a step.
func (e *Engine) compose(running []*Job) batch {
	b := batch{items: e.items[:0]}
	var prefilling []*Job
	for _, job := range running {
		if job.generation == nil {
			if awaited(job, prefilling) {
				continue
			}
			if err := e.begin(job); err != nil {
				e.fail(job, problem.FromNative(err))
				continue
			}
		}
		if job.generation.decoding() {
			b.add(job, job.generation.next, true)
		} else {
			prefilling = append(prefilling, job)
		}
	}
	room := min(e.maxRows-len(b.items), e.pace.rows)
	if len(b.items) > 0 {
		room = min(room, e.options.PrefillChunk)
	}
	for _, part := range share(prefilling, room) {
		rest := part.job.tokens[part.job.generation.evaluated:]
		b.add(part.job, rest[:part.rows], part.rows == len(rest))
		b.prompt += part.rows
	}
	return b
}

// awaited tells whether a job that has not begun should wait until another's prompt has got as far as the two are equal:
// computing that twice would take longer.
func awaited(job *Job, prefilling []*Job) bool {
	if job.request.ScorePrompt {
		return false
	}
	return slices.ContainsFunc(prefilling, func(other *Job) bool {
		return commonPrefix(job.tokens, other.tokens) > other.generation.evaluated/kvBlockPositions*kvBlockPositions
	})
}

// part is how many tokens of a job's prompt go into a step.
type part struct {
	job  *Job
	rows int
}

// share divides the room of a step between jobs, which are in the order of their arrival: those with the least left to do
// come first, after the share of the oldest.
func share(jobs []*Job, room int) []part {
	parts := make([]part, len(jobs))
	rest := func(i int) int {
		left := len(parts[i].job.tokens) - parts[i].job.generation.evaluated
		if parts[i].job.request.ScorePrompt {
			left = min(left, scoredRows)
		}
		return left - parts[i].rows
	}
	give := func(i, rows int) {
		rows = min(rows, rest(i), room)
		parts[i].rows += rows
		room -= rows
	}
	order := make([]int, len(jobs))
	for i, job := range jobs {
		parts[i].job, order[i] = job, i
	}
	if len(jobs) > 1 {
		give(0, max(room/oldestShare, 1))
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rest(a), rest(b)) })
	for _, i := range order {
		give(i, room)
	}
	return slices.DeleteFunc(parts, func(p part) bool { return p.rows == 0 })
}
