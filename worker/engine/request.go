package engine

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"touchstone/native"
	"touchstone/worker/internal/problem"
)

// Limits of a request, as the HTTP interface documents them.
const (
	MaxPromptCharacters = 32768
	MaxContext          = 1 << 24
	MaxOutputTokens     = 2048 // of a request that says nothing about them
	MaxStopSequences    = 4
	MaxStopTokens       = 32
	MaxLogprobs         = 20
	MaxJobIDCharacters  = 128
)

// Request is a job to run. Its fields must be in the ranges of the HTTP interface; Submit checks what depends on the
// tokenizer, the context and the state of the worker.
type Request struct {
	JobID         string
	CorrelationID string
	Prompt        string  // names of control tokens in it stand for those tokens
	Tokens        []int32 // the prompt as token ids; Prompt is not used if this is not nil
	Parameters
	Steering
	LogitsHash  bool
	ScorePrompt bool // tell the log-probabilities of the prompt's own tokens: Job.PromptScores
	Keep        bool // go on when the client disconnects
}

// Steering is what a request may ask for besides the parameters that every job reports.
type Steering struct {
	FrequencyPenalty float64 // -2 to 2, taken off for each time that a token was generated
	PresencePenalty  float64 // -2 to 2, taken off if it was
	Biases           []native.Bias
	MinTokens        int  // no token ends the text before so many
	IgnoreEndOfText  bool // tokens that end a text are tokens like others
}

// Parameters say how tokens are chosen and when to stop.
type Parameters struct {
	MaxTokens         int      `json:"max_tokens"` // 0: the server's limit, or what the context leaves
	Temperature       float64  `json:"temperature"`
	TopP              float64  `json:"top_p"`
	TopK              int      `json:"top_k"`
	MinP              float64  `json:"min_p"`
	RepetitionPenalty float64  `json:"repetition_penalty"`
	Stop              []string `json:"stop"`
	Seed              *uint64  `json:"seed"` // nil: a random one
	Logprobs          int      `json:"logprobs"`
}

// DefaultParameters are the parameters of a request that names none.
func DefaultParameters() Parameters {
	return Parameters{Temperature: 1, TopP: 1, RepetitionPenalty: 1, Stop: []string{}}
}

// sampling is how the native library wants the parameters, after a prompt of so many tokens.
func (r *Request) sampling(prompt int) *native.Sampling {
	return &native.Sampling{
		Temperature: float32(r.Temperature), TopK: r.TopK, TopP: float32(r.TopP), MinP: float32(r.MinP),
		RepetitionPenalty: float32(r.RepetitionPenalty), Seed: *r.Seed, TopLogprobs: r.Logprobs,
		FrequencyPenalty: float32(r.FrequencyPenalty), PresencePenalty: float32(r.PresencePenalty), PenaltyStart: prompt, Biases: r.Biases,
	}
}

// RandomSeed draws a seed from the operating system, below 2^53: JSON clients that keep numbers as doubles round no such
// seed, and can send it again.
func RandomSeed() uint64 {
	var seed [8]byte
	rand.Read(seed[:]) // never fails
	return binary.LittleEndian.Uint64(seed[:]) >> 11
}

// prepare tokenizes the request and settles its parameters: what Submit does before it looks at the worker's state.
func (e *Engine) prepare(request Request) (*Job, error) {
	tokens := request.Tokens
	if tokens == nil {
		var err error
		if tokens, err = e.options.Tokenizer.Encode(request.Prompt, true); err != nil {
			return nil, problem.New(problem.InvalidRequest, "the prompt cannot be tokenized: %v", err)
		}
	}
	if len(tokens) == 0 {
		return nil, problem.New(problem.InvalidRequest, "the prompt has no tokens; give it some text")
	}
	limitReason := StopMaxTokens
	if request.MaxTokens == 0 {
		request.MaxTokens = e.options.MaxTokens
		if left := e.options.ContextLength - len(tokens); left < request.MaxTokens {
			request.MaxTokens, limitReason = max(left, 1), StopContextFull
		}
	}
	if total := len(tokens) + request.MaxTokens; total > e.options.ContextLength {
		return nil, contextExceeded(len(tokens), request.MaxTokens, e.options.ContextLength)
	}
	if request.Seed == nil {
		seed := RandomSeed()
		request.Seed = &seed
	}
	request.MinTokens = min(request.MinTokens, request.MaxTokens)
	job := newJob(request, tokens, limitReason, e.options.Now())
	job.blocks = (len(tokens) + request.MaxTokens + kvBlockPositions - 1) / kvBlockPositions
	if job.blocks > e.blocksTotal {
		return nil, problem.New(problem.InsufficientVRAM,
			"the KV cache is too small for this job: required %d bytes, available %d bytes; "+
				"shorten the prompt, lower max_tokens or raise --kv-cache-bytes",
			uint64(job.blocks)*e.blockBytes, uint64(e.blocksTotal)*e.blockBytes)
	}
	return job, nil
}

func contextExceeded(prompt, output, context int) *problem.Problem {
	message := fmt.Sprintf("This model's maximum context length is %d tokens: the prompt has %d tokens and max_tokens is %d: together %d, "+
		"but the context holds %d", context, prompt, output, prompt+output, context)
	return &problem.Problem{Code: problem.InvalidRequest, Detail: "context_length_exceeded", Message: message, Errors: []problem.Field{{
		Field: "max_tokens", Constraint: fmt.Sprintf("prompt tokens + max_tokens <= %d", context),
		Got: map[string]int{"prompt_tokens": prompt, "max_tokens": output}, Message: message,
	}}}
}
