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
	scores      []TokenScore // of the prompt, the first one's excepted; written before the event of the first token
	wake        func()       // rouses the engine's loop
	timeout     *time.Timer
	endedAt     time.Time // guarded by Engine.mu
	generation  *generation

	mu       sync.Mutex
	sequence *sequence        // nil before the first step and after the end
	stopped  *problem.Problem // why it must end before its time
}

func newJob(request Request, tokens []int32, limitReason StopReason, now time.Time) *Job {
	return &Job{request: request, tokens: tokens, limitReason: limitReason, arrived: now, log: &eventLog{changed: newSignal()}}
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
		if j.sequence != nil {
			_ = j.sequence.session.Cancel() // fails only if the session is closed, and then the job has ended
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

// open gives the job a session, cancelled if the job was meanwhile.
func (j *Job) open(session native.Session) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequence = &sequence{session: session}
	if j.stopped != nil {
		_ = session.Cancel() // it is open
	}
}

// takeSequence takes the job's session away from it; nil if it has none.
func (j *Job) takeSequence() *sequence {
	j.mu.Lock()
	defer j.mu.Unlock()
	s := j.sequence
	j.sequence = nil
	return s
}

// PromptScores are the log-probabilities of the prompt's tokens but the first, if they were asked for. They are there when
// the job has told its first token.
func (j *Job) PromptScores() []TokenScore { return j.scores }

// PromptIDs are the tokens of the prompt.
func (j *Job) PromptIDs() []int32 { return j.tokens }
