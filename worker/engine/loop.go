package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"touchstone/native"
	"touchstone/worker/internal/problem"
)

// run is the loop that owns the model.
func (e *Engine) run() {
	defer close(e.done)
	residency := time.NewTicker(e.options.ResidencyInterval)
	defer residency.Stop()
	for {
		e.working.Store(e.options.Now().UnixNano())
		jobs, closing := e.collect()
		if closing || len(jobs) == 0 && e.abandoned.Load() {
			return
		}
		if len(jobs) > 0 {
			e.guardedStep(jobs)
			e.publishStatus()
			select {
			case <-residency.C:
				e.recheckResidency()
			default:
			}
			continue
		}
		e.working.Store(0)
		select {
		case <-e.wakeup:
		case <-residency.C:
			e.working.Store(e.options.Now().UnixNano())
			e.recheckResidency()
		}
	}
}

// collect ends the jobs that must end before their time and returns those to step.
func (e *Engine) collect() (jobs []*Job, closing bool) {
	for _, job := range e.live() {
		if reason := job.stopReason(); reason != nil {
			e.fail(job, reason)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining && len(e.running) == 0 && len(e.waiting) == 0 {
		select {
		case <-e.drained:
		default:
			close(e.drained)
		}
	}
	return slices.Clone(e.running), e.closing
}

// guardedStep ends the jobs of a step that panics, so that a defect costs them and not the worker.
func (e *Engine) guardedStep(running []*Job) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		e.options.Logger.Error("panic in a step", "event", "panic", "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
		e.mu.Lock()
		left := slices.Clone(e.running)
		e.mu.Unlock()
		for _, job := range left {
			if slices.Contains(running, job) {
				e.fail(job, problem.New(problem.Internal, "the worker failed at this job; please report its job_id"))
			}
		}
	}()
	e.step(running)
}

// step evaluates one batch: the next token of every job that decodes and, in what room is left, prompts.
func (e *Engine) step(running []*Job) {
	items, jobs := e.items[:0], make([]*Job, 0, len(running))
	add := func(job *Job, tokens []int32, choose bool) {
		item := native.StepItem{Session: job.session, Tokens: tokens, Logits: job.generation.logits}
		if choose {
			item.Sampling = job.generation.sampling
			if job.request.LogitsHash {
				item.Want = native.LogitsLast
			}
		}
		items, jobs = append(items, item), append(jobs, job)
	}
	prefilling := make([]*Job, 0, len(running))
	for _, job := range running {
		if job.generation == nil {
			if err := e.begin(job); err != nil {
				e.fail(job, problem.FromNative(err))
				continue
			}
		}
		if job.generation.decoding() {
			add(job, job.generation.next, true)
		} else {
			prefilling = append(prefilling, job)
		}
	}
	room := e.maxRows - len(items)
	if len(items) > 0 {
		room = min(room, e.options.PrefillChunk)
	}
	for _, job := range prefilling {
		rest := job.tokens[job.generation.evaluated:]
		chunk := rest[:min(len(rest), room)]
		if len(chunk) == 0 {
			break
		}
		room -= len(chunk)
		add(job, chunk, len(chunk) == len(rest))
	}
	e.items = items
	if len(items) == 0 {
		return
	}
	err := e.options.Model.Step(items)
	now := e.options.Now()
	for i, job := range jobs {
		e.take(job, &items[i], err, now)
	}
	clear(items)
}

// begin starts a job's session and tells its readers.
func (e *Engine) begin(job *Job) error {
	now := e.options.Now()
	if err := job.openSession(e.options.Model); err != nil {
		return err
	}
	job.generation = newGeneration(&job.request, e.options.Tokenizer, now)
	job.log.add(Started{
		JobID: job.ID(), CorrelationID: job.request.CorrelationID, Model: e.options.ModelName, StartedAt: now.UTC(),
		Seed: job.Seed(), PromptTokens: len(job.tokens), Effective: job.request.Parameters,
	}, false)
	e.options.Metrics.Started(now.Sub(job.arrived))
	e.options.Logger.Info("job started", "event", "job_started", "job_id", job.ID(),
		"correlation_id", job.request.CorrelationID, "prompt_tokens", len(job.tokens), "max_tokens", job.request.MaxTokens)
	return nil
}

// take handles the outcome of a step for one job.
func (e *Engine) take(job *Job, item *native.StepItem, stepError error, now time.Time) {
	g := job.generation
	if err := errors.Join(stepError, item.Err); err != nil {
		reason := job.stopReason()
		if reason == nil {
			reason = problem.FromNative(err)
		}
		e.fail(job, reason)
		return
	}
	g.logits = item.Logits
	if !g.decoding() {
		g.evaluated += len(item.Tokens)
		e.options.Metrics.PromptTokens.Add(float64(len(item.Tokens)))
		if item.Sampling == nil {
			return
		}
		g.prefilled = now
		e.options.Metrics.FirstToken(now.Sub(job.arrived), now.Sub(g.began))
	} else {
		e.options.Metrics.NextToken(now.Sub(g.chosen))
	}
	g.chosen = now
	tokens, end := g.accept(item, job.limitReason, now)
	for _, token := range tokens {
		job.log.add(token, false)
	}
	if end == nil {
		return
	}
	e.finish(job, *end, string(end.StopReason))
	e.options.Logger.Info("job ended", "event", "job_ended", "job_id", job.ID(), "correlation_id",
		job.request.CorrelationID, "stop_reason", end.StopReason, "tokens_out", end.TokensOut)
}

// fail ends a job with an error event.
func (e *Engine) fail(job *Job, reason *problem.Problem) {
	if job.generation != nil {
		for _, token := range job.generation.settled() {
			job.log.add(token, false)
		}
	}
	e.finish(job, failed(reason), string(reason.Code))
	e.options.Logger.Warn("job failed", "event", "job_failed", "job_id", job.ID(), "correlation_id",
		job.request.CorrelationID, "code", reason.Code, "message", reason.Message)
}

// finish releases what a job holds, lets waiting jobs in, and appends the terminal event last: who reads it may rely on
// the rest having happened.
func (e *Engine) finish(job *Job, terminal Event, outcome string) {
	if err := job.closeSession(); err != nil {
		e.options.Logger.Error("session not released", "event", "session_close_failed", "job_id", job.ID(), "error", err)
	}
	job.timeout.Stop()
	e.mu.Lock()
	if i := slices.Index(e.running, job); i >= 0 {
		e.running = slices.Delete(e.running, i, i+1)
		e.reserved -= job.blocks
	} else if i := slices.Index(e.waiting, job); i >= 0 {
		e.waiting = slices.Delete(e.waiting, i, i+1)
	}
	job.endedAt = e.options.Now()
	e.forget(job)
	for len(e.waiting) > 0 && e.fits(e.waiting[0]) {
		e.admit(e.waiting[0])
		e.waiting = slices.Delete(e.waiting, 0, 1)
	}
	e.options.Metrics.Jobs(len(e.running), len(e.waiting))
	e.mu.Unlock()
	e.publishStatus()
	e.options.Metrics.Outcome(outcome)
	if job.generation != nil {
		e.options.Metrics.OutputTokens.Add(float64(job.generation.tokensOut))
	}
	job.log.add(terminal, true)
}

// forget keeps a job that just ended and drops the ones kept too many or too long. The caller holds mu.
func (e *Engine) forget(job *Job) {
	e.ended = append(e.ended, job)
	for len(e.ended) > e.options.KeepEnded || job.endedAt.Sub(e.ended[0].endedAt) > e.options.KeepFor {
		if old := e.ended[0]; e.jobs[old.ID()] == old {
			delete(e.jobs, old.ID())
		}
		e.ended = slices.Delete(e.ended, 0, 1)
		if len(e.ended) == 0 {
			return
		}
	}
}

// recheckResidency is the periodic check; only a change is logged.
func (e *Engine) recheckResidency() {
	before := e.Status().Residency.Resident
	if err := e.checkResidency(); err != nil && before {
		e.options.Logger.Error("residency lost", "event", "residency_failed", "error", err)
	} else if err == nil && !before {
		e.options.Logger.Info("residency restored", "event", "residency_restored")
	}
}

// checkResidency asks where every block is and publishes the answer.
func (e *Engine) checkResidency() error {
	report, err := e.options.Context.CheckResidency()
	residency := Residency{Resident: err == nil}
	if err != nil {
		residency.Problem = err.Error()
		if report.FirstLabel != "" {
			residency.Problem = fmt.Sprintf("block %q (id %d) is not in device memory; %d of %d blocks are elsewhere",
				report.FirstLabel, report.FirstID, report.Outside, report.Checked)
		}
		err = errors.New(residency.Problem)
	}
	status := *e.Status()
	status.Residency = residency
	e.status.Store(&status)
	e.options.Metrics.Residency(residency.Resident)
	return err
}

// publishStatus refreshes the snapshot of the memory ledger and the KV pool.
func (e *Engine) publishStatus() {
	status := *e.Status()
	memory, err := e.options.Context.Memory()
	if err == nil {
		status.Memory = memory
		status.Model, err = e.options.Model.Info()
	}
	if err != nil {
		e.options.Logger.Error("memory unknown", "event", "memory_failed", "error", err)
		return
	}
	e.status.Store(&status)
	e.options.Metrics.Memory(status.Memory, status.Model)
}
