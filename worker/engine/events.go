package engine

import (
	"sync"
	"time"

	"touchstone/worker/internal/problem"
)

// Event is one entry of a job's log: Started, then Token events, then End or Failed.
type Event interface {
	// Name is the event's type in the stream.
	Name() string
}

// Started tells that a job was admitted, and every parameter as used.
type Started struct {
	JobID         string     `json:"job_id"`
	CorrelationID string     `json:"correlation_id"`
	Model         string     `json:"model"`
	StartedAt     time.Time  `json:"started_at"`
	Seed          uint64     `json:"seed"`
	PromptTokens  int        `json:"prompt_tokens"`
	Effective     Parameters `json:"effective"`
}

// Token is one generated token. Text is held back while it may begin a stop sequence or while a character is incomplete.
type Token struct {
	Index   int          `json:"i"`
	Text    string       `json:"t"`
	ID      int32        `json:"id"`
	Logprob *float64     `json:"logprob,omitempty"`
	Top     []TopLogprob `json:"top_logprobs,omitempty"`
}

// TopLogprob is a likely token with its natural log-probability.
type TopLogprob struct {
	ID      int32   `json:"id"`
	Text    string  `json:"t"`
	Logprob float64 `json:"logprob"`
}

// StopReason tells why a job ended well.
type StopReason string

// The reasons to stop.
const (
	StopMaxTokens   StopReason = "max_tokens"
	StopSequence    StopReason = "stop_sequence"
	StopEndOfText   StopReason = "end_of_text"
	StopContextFull StopReason = "context_full"
)

// End is the terminal event of a job that ended well.
type End struct {
	TokensOut       int        `json:"tokens_out"`
	StopReason      StopReason `json:"stop_reason"`
	StopSequence    *string    `json:"stop_sequence"`
	PrefillMS       float64    `json:"prefill_ms"`
	DecodeTimeMS    float64    `json:"decode_time_ms"`
	TokensPerSecond float64    `json:"tokens_per_second"`
	LogitsSHA256    string     `json:"logits_sha256,omitempty"`
}

// Failed is the terminal event of a job that did not end well.
type Failed struct {
	Code      problem.Code `json:"code"`
	Message   string       `json:"message"`
	Retriable bool         `json:"retriable"`
}

func failed(reason *problem.Problem) Failed {
	return Failed{Code: reason.Code, Message: reason.Message, Retriable: reason.Code.Retriable()}
}

// Name gives "started".
func (Started) Name() string { return "started" }

// Name gives "token".
func (Token) Name() string { return "token" }

// Name gives "end".
func (End) Name() string { return "end" }

// Name gives "error".
func (Failed) Name() string { return "error" }

// eventLog is the append-only record of a job. Writers never wait for readers: a reader asks for what follows the events
// it has, and waits on a channel for more.
type eventLog struct {
	mu      sync.Mutex
	events  []Event
	ended   bool
	changed *signal // the job's own, or that of all jobs that were submitted with it
}

func (l *eventLog) add(event Event, terminal bool) {
	l.mu.Lock()
	if !l.ended { // it has if Drain gave it up
		l.events = append(l.events, event)
		l.ended = terminal
	}
	l.mu.Unlock()
	l.changed.tell()
}

// since returns the events from index on, whether the last of them is the terminal one, and a channel that is closed
// when there are more.
func (l *eventLog) since(index int) (events []Event, ended bool, changed <-chan struct{}) {
	changed = l.changed.next()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.events[min(index, len(l.events)):len(l.events):len(l.events)], l.ended, changed
}
