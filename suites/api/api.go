// Package api knows the HTTP interfaces by which workers are asked: one adapter each, over one idea of what a worker does. Specs
// of what a worker means are written over API and run on each adapter; specs of a wire format use that format's own types.
package api

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"touchstone/suites/wire"
)

// API asks a worker for what it does in one wire format. It is safe for concurrent use.
type API interface {
	// Name names the interface, such as "openai-completions".
	Name() string
	// Open asks for an answer that comes as it is made; header may be nil. A request that the interface has no words for is
	// an error of type *NotOffered, and nothing is sent. A refusal is no error: Answer tells of it. The caller closes it.
	Open(ctx context.Context, client *wire.Client, request Request, header map[string]string) (*Stream, error)
	// Whole asks for an answer in one piece, or reads a stream to its end where the interface has nothing else.
	Whole(ctx context.Context, client *wire.Client, request Request) (Answer, error)
	// Offers tells whether the interface has a feature at all.
	Offers(feature Feature) bool
	// Health is the call that asks whether the worker is well, at whatever path there is for it.
	Health() wire.Call
	// ReadyPaths answer 200 when a worker is ready; see process.Launch.
	ReadyPaths() []string
}

// The names of the interfaces.
const (
	Touchstone        = "touchstone"
	OpenAICompletions = "openai-completions"
	OpenAIChat        = "openai-chat"
)

// Feature is something that not every interface has.
type Feature string

// The features.
const (
	TokenIDs   Feature = "token-ids"   // answers tell the ids of their tokens
	RawPrompts Feature = "raw-prompts" // a prompt is continued as it is, without a template
	Timings    Feature = "timings"     // answers tell how long the worker took
	Resumable  Feature = "resumable"   // a stream can be asked for again
	Cancels    Feature = "cancels"     // a running request can be ended by another one
	Tokenizes  Feature = "tokenizes"   // text can be made tokens, and back
)

// Canceller ends running requests.
type Canceller interface {
	Cancel(ctx context.Context, client *wire.Client, jobID string) error
}

// Tokenizer makes tokens of text and text of tokens, as the worker does.
type Tokenizer interface {
	Tokenize(ctx context.Context, client *wire.Client, text string) ([]int32, error)
	Detokenize(ctx context.Context, client *wire.Client, ids []int32) (string, error)
}

// NotOffered is a request that an interface has no words for.
type NotOffered struct{ API, Field string }

func (e *NotOffered) Error() string { return fmt.Sprintf("%s has no %s", e.API, e.Field) }

// Request asks for a continuation, in the words of no interface. Greedy makes one with every default in place.
type Request struct {
	JobID             string // where the interface has one; "" is a fresh one
	Prompt            string
	Messages          []Message // in place of Prompt, where the interface takes conversations
	MaxTokens         int
	Temperature       float64 // 0 is greedy
	TopK              int     // 0 is off
	TopP              float64 // 1 is off
	MinP              float64 // 0 is off
	RepetitionPenalty float64 // 1 is off
	Seed              uint64
	Stop              []string
	Logprobs          int  // alternatives of each token; 0 asks for none
	LogitsHash        bool // a digest of all logits
}

// Message is one turn of a conversation.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Greedy asks for the likeliest continuation.
func Greedy(prompt string, maxTokens int) Request {
	return Request{Prompt: prompt, MaxTokens: maxTokens, TopP: 1, RepetitionPenalty: 1, Seed: 1}
}

// Sampled is the request at a temperature, with a seed.
func (r Request) Sampled(temperature float64, seed uint64) Request {
	r.Temperature, r.Seed = temperature, seed
	return r
}

// Finish is why an answer ended.
type Finish string

// Why answers end. Interfaces that do not tell a stop sequence from the end of the text say Stopped for both.
const (
	AtLimit   Finish = "limit"         // the tokens asked for
	AtStop    Finish = "stop sequence" // one of those given
	AtEnd     Finish = "end of text"   // an end token of the model
	AtContext Finish = "context full"  // the model's context
	Stopped   Finish = "stop"          // a stop sequence or the end of the text
)

// Answer is what a worker said. What the interface does not tell is nil or empty.
type Answer struct {
	Pieces           []string // the text as it came
	Tokens           []int32
	Logprobs         []float64 // of the chosen tokens, natural logarithms
	TokenTexts       []string  // of the chosen tokens, as log-probabilities list them
	TextOffsets      []int     // characters of text before what each token shows
	Top              [][]Alternative
	TopByText        []map[string]float64 // where the interface lists alternatives by their texts, without an order
	Finish           Finish
	FinishWord       string // as the interface put it
	StopSequence     string
	PromptTokens     *int
	CompletionTokens *int
	LogitsSHA256     string
	Prefill, Decode  time.Duration // the worker's own clock
	TokensPerSecond  float64
}

// Alternative is a likely token; ID is -1 where the interface tells its text alone.
type Alternative struct {
	ID      int32
	Text    string
	Logprob float64
}

// Text is what the pieces say together.
func (a Answer) Text() string { return strings.Join(a.Pieces, "") }

// Same tells what two answers have in common is equal: tokens, or text where tokens are not told, and why they ended.
func (a Answer) Same(other Answer) bool {
	return slices.Equal(a.Tokens, other.Tokens) && a.Text() == other.Text() && a.FinishWord == other.FinishWord
}

// Stream is an answer under way.
type Stream struct {
	*wire.Stream
	reader StreamReader
}

// StreamReader is what an interface knows about its streams.
type StreamReader interface {
	// HoldsText tells whether an event brings text.
	HoldsText(event wire.Event) bool
	// Problem is the first rule that a complete stream breaks, or "".
	Problem(stream *wire.Stream) string
	// Answer is what a complete stream said; a refusal, or an error in it, is an error.
	Answer(stream *wire.Stream) (Answer, error)
}

// NewStream is a stream of the interface that reader knows.
func NewStream(stream *wire.Stream, reader StreamReader) *Stream {
	return &Stream{Stream: stream, reader: reader}
}

// AwaitText reads until text has come. The end of the stream before that is an error.
func (s *Stream) AwaitText() error {
	for {
		event, err := s.Next()
		if err != nil {
			return fmt.Errorf("waiting for the first text: %w", err)
		}
		if s.reader.HoldsText(event) {
			return nil
		}
	}
}

// FirstText is when the first text arrived, since the request was sent; 0 if none did.
func (s *Stream) FirstText() time.Duration {
	for _, event := range s.Events() {
		if s.reader.HoldsText(event) {
			return event.At
		}
	}
	return 0
}

// TextArrivals are the times at which pieces of text arrived.
func (s *Stream) TextArrivals() []time.Duration {
	var at []time.Duration
	for _, event := range s.Events() {
		if s.reader.HoldsText(event) {
			at = append(at, event.At)
		}
	}
	return at
}

// Problem is the first rule of its interface that a complete stream breaks, or "".
func (s *Stream) Problem() string { return s.reader.Problem(s.Stream) }

// Answer is what a complete stream said; a refusal or an error in it is an error.
func (s *Stream) Answer() (Answer, error) { return s.reader.Answer(s.Stream) }

// Finished reads the stream to its end and gives its answer.
func (s *Stream) Finished() (Answer, error) {
	if err := s.Drain(); err != nil {
		return Answer{}, err
	}
	return s.Answer()
}
