// Package engine runs jobs on a native model. One goroutine owns the model: it admits jobs, steps all of them together
// (continuous batching) and writes what happens to each job's event log, from which any number of readers read at their
// own pace.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"touchstone/native"
	"touchstone/worker/internal/metrics"
	"touchstone/worker/internal/problem"
)

// kvBlockPositions is the length of a KV block (TS_KV_BLOCK_POSITIONS of the ABI).
const kvBlockPositions = 32

// Options are what an engine needs. All fields are required unless a default is named.
type Options struct {
	Context       native.Context
	Model         native.Model
	Tokenizer     Tokenizer
	ModelName     string
	ContextLength int // positions

	EndTokens         []int32       // that end a text; what min_tokens keeps from being chosen
	MaxTokens         int           // of a request that names none, if the context leaves as many
	MaxJobs           int           // jobs in the batch
	Queue             int           // jobs that may wait for a place in it
	PrefillChunk      int           // most prompt tokens in a step while other jobs decode
	StepTarget        time.Duration // about how long a step with prompt tokens may take; 0: as long as a full one takes
	InferenceTimeout  time.Duration // from a job's arrival to its end
	ResidencyInterval time.Duration // between residency checks
	StepTimeout       time.Duration // of a step, after which the device counts as hung; 0: none does
	CancelGrace       time.Duration // for a step whose jobs were all cancelled to end; 0: without limit
	KeepEnded         int           // ended jobs whose events are kept
	KeepFor           time.Duration // how long they are kept

	Logger  *slog.Logger
	Metrics *metrics.Metrics
	Now     func() time.Time // default time.Now
}

// Engine is the owner of a model. Its methods may be called from any goroutine.
type Engine struct {
	options     Options
	maxRows     int
	blocksTotal int
	blockBytes  uint64
	status      atomic.Pointer[Status]
	wakeup      chan struct{}
	done        chan struct{}
	abandoned   atomic.Bool       // Drain gave the loop up
	working     atomic.Int64      // when the loop turned to what it does now, as Unix nanoseconds; 0 while it waits
	items       []native.StepItem // the loop's, as the two below
	prefixes    *prefixCache
	pace        pace

	mu       sync.Mutex
	jobs     map[string]*Job // by id: waiting, running, and ended ones that are kept
	waiting  []*Job          // in order of arrival
	running  []*Job
	ended    []*Job // the oldest first
	reserved int    // KV blocks of the running jobs
	draining bool
	closing  bool
	drained  chan struct{} // closed once draining and no job is left
}

// Status is a snapshot of the engine, made by its loop; reading it never waits for the device.
type Status struct {
	Memory    native.MemoryStats
	Model     native.ModelInfo
	Cached    int // KV blocks that no job uses, kept for prompts that begin alike; given up when jobs need them
	Residency Residency
}

// Residency is the outcome of the last residency check.
type Residency struct {
	Resident bool
	Problem  string // which block is out of place, or why the check failed; empty if Resident
}

// VRAMBytesUsed is what the ledger holds less the blocks of the KV pool that no job uses.
func (s *Status) VRAMBytesUsed() uint64 {
	return s.Memory.Total() - min(s.Memory.Total(), uint64(s.Model.KVBlocksFree+s.Cached)*s.Model.KVBlockBytes)
}

// New starts an engine. The caller ends it with Close, and closes the model and the context after that.
func New(options Options) (*Engine, error) {
	info, err := options.Model.Info()
	if err != nil {
		return nil, fmt.Errorf("ask the model: %w", err)
	}
	if options.MaxJobs > info.MaxRows {
		return nil, fmt.Errorf("%d jobs at once do not fit into a step of %d tokens", options.MaxJobs, info.MaxRows)
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	e := &Engine{
		options: options, maxRows: info.MaxRows, blocksTotal: info.KVBlocksTotal, blockBytes: info.KVBlockBytes,
		wakeup: make(chan struct{}, 1), done: make(chan struct{}), jobs: map[string]*Job{}, drained: make(chan struct{}),
		prefixes: newPrefixCache(), pace: newPace(options.StepTarget, options.PrefillChunk, info.MaxRows),
	}
	e.status.Store(&Status{Model: info})
	if err := e.checkResidency(); err != nil {
		return nil, err
	}
	e.publishStatus()
	go e.run()
	return e, nil
}

// Status is the last snapshot.
func (e *Engine) Status() *Status { return e.status.Load() }

// Counts tells how many jobs run and wait.
func (e *Engine) Counts() (running, waiting int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.running), len(e.waiting)
}

// Draining tells whether new jobs are refused because the worker is about to end.
func (e *Engine) Draining() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.draining
}

// Submit admits a job, puts it into the queue, or refuses it with a *problem.Problem.
func (e *Engine) Submit(request Request) (*Job, error) {
	jobs, err := e.SubmitAll([]Request{request})
	if err != nil {
		return nil, err
	}
	return jobs[0], nil
}

// SubmitAll submits jobs whose readers wait for all of them: either all are taken, or none. The channel that Since gives
// for any of them is closed when there is more from one of them.
func (e *Engine) SubmitAll(requests []Request) ([]*Job, error) {
	jobs := make([]*Job, len(requests))
	changed := newSignal()
	var err error
	for i, request := range requests {
		if jobs[i], err = e.prepare(request); err != nil {
			break
		}
		jobs[i].log.changed = changed
	}
	if most := e.options.MaxJobs + e.options.Queue; err == nil && len(jobs) > most {
		message := fmt.Sprintf("%d answers at once are more than the %d jobs that this worker takes", len(jobs), most)
		err = &problem.Problem{Code: problem.InvalidRequest, Message: message, Errors: []problem.Field{{
			Field: "n", Constraint: fmt.Sprintf("at most %d answers", most), Got: len(jobs), Message: message}}}
	}
	if err == nil {
		err = e.place(jobs)
	}
	if err != nil {
		var refusal *problem.Problem
		errors.As(err, &refusal)
		e.options.Metrics.Outcome(string(refusal.Code))
		return nil, err
	}
	e.wake()
	return jobs, nil
}

// place makes jobs run or wait.
func (e *Engine) place(jobs []*Job) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining {
		return problem.New(problem.ShuttingDown, "the worker is shutting down; use another one")
	}
	for _, job := range jobs {
		if other := e.jobs[job.ID()]; other != nil && other.endedAt.IsZero() {
			return problem.New(problem.Conflict, "a job with this job_id is running; wait for its end or choose another id")
		}
	}
	running, waiting, reserved := len(e.running), len(e.waiting), e.reserved
	for _, job := range jobs {
		if len(e.waiting) == 0 && e.fits(job) {
			e.admit(job)
		} else {
			e.waiting = append(e.waiting, job)
		}
	}
	idle := running+waiting == 0 // then even jobs whose KV blocks do not fit together are taken, one after another
	if len(e.waiting) > max(waiting, e.options.Queue) && !idle {
		e.running, e.waiting, e.reserved = e.running[:running], e.waiting[:waiting], reserved
		p := problem.New(problem.Overloaded, "%d jobs run and %d wait, which is all the worker takes; try again later", running, waiting)
		p.RetryAfter = time.Second
		return p
	}
	for _, job := range jobs {
		job.wake = e.wake
		job.timeout = time.AfterFunc(e.options.InferenceTimeout, func() {
			job.Cancel(problem.New(problem.InferenceTimeout, "the job did not end within %s", e.options.InferenceTimeout))
		})
		e.jobs[job.ID()] = job
	}
	e.options.Metrics.Jobs(len(e.running), len(e.waiting))
	return nil
}

// fits tells whether a job has a place in the batch and its KV blocks. The caller holds mu.
func (e *Engine) fits(job *Job) bool {
	return len(e.running) < e.options.MaxJobs && e.reserved+job.blocks <= e.blocksTotal
}

// admit makes a job run. The caller holds mu.
func (e *Engine) admit(job *Job) {
	e.running = append(e.running, job)
	e.reserved += job.blocks
}

// Job finds a job by its id, running or kept.
func (e *Engine) Job(id string) (*Job, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	job, found := e.jobs[id]
	if !found || !job.endedAt.IsZero() && e.options.Now().Sub(job.endedAt) > e.options.KeepFor {
		return nil, false
	}
	return job, true
}

// ErrHung tells that the device did not come back from a step, so that the loop that owns the model was given up.
var ErrHung = errors.New("the device does not come back from a step")

// Drain refuses new jobs and waits until the others have ended. When ctx ends first, they are cancelled; a loop that does not
// get over that within CancelGrace is given up, and its readers are told: ErrHung.
func (e *Engine) Drain(ctx context.Context) error {
	e.mu.Lock()
	e.draining = true
	e.mu.Unlock()
	e.wake()
	select {
	case <-e.drained:
		return nil
	case <-ctx.Done():
	}
	reason := problem.New(problem.ShuttingDown, "the worker shut down before the job ended; run it on another worker")
	for _, job := range e.live() {
		job.Cancel(reason)
	}
	var grace <-chan time.Time
	if e.options.CancelGrace > 0 {
		timer := time.NewTimer(e.options.CancelGrace)
		defer timer.Stop()
		grace = timer.C
	}
	select {
	case <-e.drained:
		return nil
	case <-grace:
	}
	e.abandoned.Store(true)
	for _, job := range e.live() {
		job.log.add(failed(reason), true)
	}
	return ErrHung
}

// Close cancels what still runs and ends the loop. The engine must not be used afterwards. ErrHung means that the loop is
// still inside the model, which must then not be closed.
func (e *Engine) Close() error {
	if e.abandoned.Load() {
		return ErrHung
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := e.Drain(ctx); err != nil {
		return err
	}
	e.mu.Lock()
	e.closing = true
	e.mu.Unlock()
	e.wake()
	<-e.done
	return nil
}

// Hung tells for how long the device has been at one step, if that is longer than StepTimeout.
func (e *Engine) Hung() (time.Duration, bool) {
	began := e.working.Load()
	if began == 0 || e.options.StepTimeout == 0 {
		return 0, false
	}
	at := e.options.Now().Sub(time.Unix(0, began))
	return at, at > e.options.StepTimeout
}

// live gives the jobs that have not ended.
func (e *Engine) live() []*Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append(append([]*Job(nil), e.running...), e.waiting...)
}

// liveRunning gives the jobs that run.
func (e *Engine) liveRunning() []*Job {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.running)
}

// wake rouses the loop; it never blocks.
func (e *Engine) wake() {
	select {
	case e.wakeup <- struct{}{}:
	default:
	}
}
