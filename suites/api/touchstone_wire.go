package api

import (
	"encoding/json"

	"github.com/google/uuid"
)

// Fields is the body of a request as the specs want to send it: also fields and types that no worker should accept.
type Fields map[string]any

// CorrelationHeader carries the correlation id of a request and of its response.
const CorrelationHeader = "X-Correlation-Id"

// NewJobID is an id that no other request uses.
func NewJobID() string { return uuid.NewString() }

// Generate asks for maxTokens tokens after a prompt, greedily, under a fresh job id.
func Generate(prompt string, maxTokens int) Fields {
	return Fields{"job_id": NewJobID(), "prompt": prompt, "max_tokens": maxTokens, "temperature": 0.0, "seed": 1}
}

// With returns a copy with a field set.
func (f Fields) With(name string, value any) Fields {
	out := Fields{}
	for k, v := range f {
		out[k] = v
	}
	out[name] = value
	return out
}

// Without returns a copy that lacks a field.
func (f Fields) Without(name string) Fields {
	out := f.With(name, nil)
	delete(out, name)
	return out
}

// JobID is the job id of the request.
func (f Fields) JobID() string {
	id, _ := f["job_id"].(string)
	return id
}

// Started is the data of a started event. Seed is kept as it was written: a uint64 does not fit in a float64.
type Started struct {
	JobID         string                     `json:"job_id"`
	CorrelationID string                     `json:"correlation_id"`
	Model         string                     `json:"model"`
	StartedAt     string                     `json:"started_at"`
	Seed          json.Number                `json:"seed"`
	PromptTokens  int                        `json:"prompt_tokens"`
	Effective     map[string]json.RawMessage `json:"effective"`
}

// Token is the data of a token event.
type Token struct {
	I       *int     `json:"i"`
	T       *string  `json:"t"`
	ID      *int     `json:"id"`
	Logprob *float64 `json:"logprob"`
	Top     []struct {
		ID      int32   `json:"id"`
		T       string  `json:"t"`
		Logprob float64 `json:"logprob"`
	} `json:"top_logprobs"`
}

// End is the data of an end event.
type End struct {
	TokensOut       *int     `json:"tokens_out"`
	StopReason      string   `json:"stop_reason"`
	StopSequence    *string  `json:"stop_sequence"`
	PrefillMS       *float64 `json:"prefill_ms"`
	DecodeTimeMS    *float64 `json:"decode_time_ms"`
	TokensPerSecond *float64 `json:"tokens_per_second"`
	LogitsSHA256    string   `json:"logits_sha256"`
}

// Failure is the data of an error event, and the body of an error response.
type Failure struct {
	Code          string         `json:"code"`
	Message       string         `json:"message"`
	Retriable     *bool          `json:"retriable"`
	CorrelationID string         `json:"correlation_id"`
	Errors        []FieldFailure `json:"errors"`
}

// FieldFailure is one refused field.
type FieldFailure struct {
	Field      string `json:"field"`
	Constraint string `json:"constraint"`
	Got        any    `json:"got"`
	Message    string `json:"message"`
}

// Health is the answer of GET /health. Pointers tell a missing field from a zero.
type Health struct {
	Status         string   `json:"status"`
	WorkerID       string   `json:"worker_id"`
	Model          string   `json:"model"`
	Architecture   string   `json:"architecture"`
	QuantKind      string   `json:"quant_kind"`
	Resident       *bool    `json:"resident"`
	Device         string   `json:"device"`
	VRAMBytesUsed  *uint64  `json:"vram_bytes_used"`
	VRAMBytesTotal *uint64  `json:"vram_bytes_total"`
	TokenizerKind  string   `json:"tokenizer_kind"`
	VocabSize      *int     `json:"vocab_size"`
	ContextLength  *int     `json:"context_length"`
	UptimeSeconds  *float64 `json:"uptime_seconds"`
	JobsRunning    *int     `json:"jobs_running"`
	JobsWaiting    *int     `json:"jobs_waiting"`
}

// Piece is one token of POST /tokenize.
type Piece struct {
	ID    int32  `json:"id"`
	Piece string `json:"piece"`
}

// PieceIDs are the ids of tokens.
func PieceIDs(pieces []Piece) []int32 {
	ids := make([]int32, len(pieces))
	for i, piece := range pieces {
		ids[i] = piece.ID
	}
	return ids
}
