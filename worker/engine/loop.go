package engine

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"touchstone/native"
	"touchstone/worker/internal/problem"
)

// run is the loop that owns the model.
func (e *Engine) run() {
	defer close(e.done)
	defer e.giveUpBlocks(math.MaxInt)
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

// step evaluates one batch.
func (e *Engine) step(running []*Job) {
	b := e.compose(running)
	e.items = b.items
	if len(b.items) == 0 {
		return
	}
	e.makeRoom(b)
	began := e.options.Now()
	err := e.options.Model.Step(b.items)
	now := e.options.Now()
	if err == nil {
		e.pace.learn(b.rows, b.prompt, now.Sub(began))
	}
	for i, job := range b.jobs {
		e.take(job, &b.items[i], err, now)
	}
	clear(b.items)
}

// makeRoom gives up kept sequences until the KV blocks that a batch needs are free. There are always enough: the running
// jobs together never reserve more than there are.
func (e *Engine) makeRoom(b batch) {
	needed := 0
	for i, job := range b.jobs {
		length := job.generation.length
		needed += blocksFor(length+len(b.items[i].Tokens)) - blocksFor(length)
	}
	e.giveUpBlocks(needed)
}

// giveUpBlocks drops kept sequences until so many KV blocks are free, or none is kept.
func (e *Engine) giveUpBlocks(needed int) {
	for e.prefixes.kept.Len() > 0 {
		if info, err := e.options.Model.Info(); err == nil && info.KVBlocksFree >= needed {
			return
		}
		if _, err := e.prefixes.dropOldest(); err != nil {
			e.options.Logger.Error("session not released", "event", "session_close_failed", "error", err)
		}
	}
}

func blocksFor(positions int) int { return (positions + kvBlockPositions - 1) / kvBlockPositions }

// begin starts a job's session, with what another one has computed of its prompt already, and tells its readers.
func (e *Engine) begin(job *Job) error {
	now := e.options.Now()
	session, reused, err := e.newSession(job)
	if err != nil {
		return err
	}
	job.open(session)
	job.generation = newGeneration(job, e.options.Tokenizer, e.options.EndTokens, now)
	job.generation.length, job.generation.evaluated = reused, reused
	e.prefixes.extend(job.sequence, job.tokens[:reused])
	job.log.add(Started{
		JobID: job.ID(), CorrelationID: job.request.CorrelationID, Model: e.options.ModelName, StartedAt: now.UTC(),
		Seed: job.Seed(), PromptTokens: len(job.tokens), Effective: job.request.Parameters,
	}, false)
	e.options.Metrics.Started(now.Sub(job.arrived))
	e.options.Metrics.ReusedTokens.Add(float64(reused))
	e.options.Logger.Info("job started", "event", "job_started", "job_id", job.ID(), "correlation_id", job.request.CorrelationID,
		"prompt_tokens", len(job.tokens), "reused_tokens", reused, "max_tokens", job.request.MaxTokens)
	return nil
}

// newSession makes a session for a job, which begins with what another one has of the job's prompt.
func (e *Engine) newSession(job *Job) (native.Session, int, error) {
	if !job.request.ScorePrompt { // which needs the logits of the whole prompt
		if from, length := e.prefixes.find(job.tokens); from != nil {
			session, err := from.session.Fork(length)
			return session, length, err
		}
	}
	session, err := e.options.Model.NewSession(native.SessionOptions{})
	return session, 0, err
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
	g.length += len(item.Tokens)
	if !g.decoding() {
		if err := e.takePrompt(job, item); err != nil {
			e.fail(job, problem.FromNative(err))
			return
		}
		if item.Sampling == nil {
			return
		}
		g.prefilled = now
		e.options.Metrics.FirstToken(now.Sub(job.arrived), now.Sub(g.began))
	} else {
		g.generated = append(g.generated, item.Tokens...)
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

// takePrompt handles tokens of a prompt that a step has evaluated.
func (e *Engine) takePrompt(job *Job, item *native.StepItem) error {
	g := job.generation
	g.evaluated += len(item.Tokens)
	e.options.Metrics.PromptTokens.Add(float64(len(item.Tokens)))
	e.prefixes.extend(job.sequence, job.tokens[:g.evaluated])
	if !job.request.ScorePrompt {
		return nil
	}
	// A row of logits is about the token after it; the last one's is chosen yet.
	followers := job.tokens[g.evaluated-len(item.Tokens)+1 : min(g.evaluated+1, len(job.tokens))]
	vocab := len(item.Logits) / len(item.Tokens)
	scores, err := e.score(item.Logits[:len(followers)*vocab], followers, job.request.Logprobs)
	job.scores = append(job.scores, scores...)
	return err
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
	if err := e.release(job, terminal); err != nil {
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

// release takes the session away from a job. It is kept for prompts that begin alike if the job ended well.
func (e *Engine) release(job *Job, terminal Event) error {
	s := job.takeSequence()
	if s == nil {
		return nil
	}
	if _, well := terminal.(End); !well {
		return e.prefixes.drop(s)
	}
	e.prefixes.extend(s, slices.Concat(job.tokens, job.generation.generated))
	return e.prefixes.keep(s)
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
	// What running jobs share counts for each of them, so that Cached is rather too low than too high.
	used := 0
	for _, job := range e.liveRunning() {
		if job.generation != nil {
			used += blocksFor(job.generation.length)
		}
	}
	status.Cached = max(status.Model.KVBlocksTotal-status.Model.KVBlocksFree-used, 0)
	e.status.Store(&status)
	e.options.Metrics.Memory(status.Memory, status.Model, status.Cached)
}
