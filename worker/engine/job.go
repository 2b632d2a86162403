package engine

import (
	"sync"
	"time"

	"touchstone/native"
	"touchstone/worker/internal/problem"
)

// Job is one request on its way: waiting, running or ended. Its methods may be called from any goroutine.
type Job struct {
	request     Request
	tokens      []int32 // of the prompt
	limitReason StopReason
	blocks      int // KV blocks reserved for it
	arrived     time.Time
	log         *eventLog
	wake        func() // rouses the engine's loop
	timeout     *time.Timer
	endedAt     time.Time // guarded by Engine.mu
	generation  *generation

	mu      sync.Mutex
	session native.Session   // nil before the first step and after the end
	stopped *problem.Problem // why it must end before its time
}

func newJob(request Request, tokens []int32, limitReason StopReason, now time.Time) *Job {
	return &Job{request: request, tokens: tokens, limitReason: limitReason, arrived: now, log: newEventLog()}
}

// ID is the id that the client gave.
func (j *Job) ID() string { return j.request.JobID }

// Seed is the seed in use.
func (j *Job) Seed() uint64 { return *j.request.Seed }

// PromptTokens is the length of the prompt.
func (j *Job) PromptTokens() int { return len(j.tokens) }

// Since returns the events from index on, whether the last of them is the terminal one, and a channel that is closed
// when there are more.
func (j *Job) Since(index int) (events []Event, ended bool, changed <-chan struct{}) {
	return j.log.since(index)
}

// Cancel ends the job within one step of the model, with an error event for the reason. The first reason stands; after
// the end of the job it does nothing.
func (j *Job) Cancel(reason *problem.Problem) {
	j.mu.Lock()
	if j.stopped == nil {
		j.stopped = reason
		if j.session != nil {
			_ = j.session.Cancel() // fails only if the session is closed, and then the job has ended
		}
	}
	j.mu.Unlock()
	j.wake()
}

// stopReason is why the job must end before its time, or nil.
func (j *Job) stopReason() *problem.Problem {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stopped
}

// openSession creates the job's session unless it has one.
func (j *Job) openSession(model native.Model) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.session != nil {
		return nil
	}
	session, err := model.NewSession(native.SessionOptions{MaxLength: len(j.tokens) + j.request.MaxTokens})
	if err != nil {
		return err
	}
	j.session = session
	return nil
}

// closeSession releases the job's session and its KV blocks.
func (j *Job) closeSession() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.session == nil {
		return nil
	}
	err := j.session.Close()
	j.session = nil
	return err
}
