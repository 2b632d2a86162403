package matchers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/onsi/gomega/types"
	r3sse "github.com/r3labs/sse/v2"

	"touchstone/suites/target"
)

// BeWellFormedSSE succeeds for a *target.Stream that is complete and keeps all rules of the event stream: the WHATWG grammar,
// one JSON object on one line an event, ids counting from 0, "started", then tokens with i counting from 0, then exactly one
// "end" or "error".
func BeWellFormedSSE() types.GomegaMatcher { return &wellFormed{check: StreamProblem} }

type wellFormed struct {
	check   func(*target.Stream) string
	problem string
}

func (m *wellFormed) Match(actual any) (bool, error) {
	stream, isStream := actual.(*target.Stream)
	if !isStream || stream == nil {
		return false, fmt.Errorf("want a *target.Stream, got %T", actual)
	}
	m.problem = m.check(stream)
	return m.problem == "", nil
}

// framingProblem is the first rule that the bytes of a stream break, whatever they say, or "".
func framingProblem(stream *target.Stream) string {
	if !stream.IsEventStream() {
		return fmt.Sprintf("the answer is %d %q, want 200 text/event-stream; body %.200q",
			stream.Status, stream.Header.Get("Content-Type"), stream.Raw())
	}
	parsed := stream.Parsed()
	if len(parsed.Problems) > 0 {
		first := parsed.Problems[0]
		return fmt.Sprintf("%s\nthe bytes around it: %q", first, around(stream.Raw(), first.Offset))
	}
	if blocks, events := clientBlocks(stream.Raw()), len(parsed.Events); blocks != events+commentBlocks(stream) {
		return fmt.Sprintf("an ordinary client finds %d blocks, the grammar has %d events", blocks, events)
	}
	return ""
}

// StreamProblem is the first rule that a complete stream breaks, or "".
func StreamProblem(stream *target.Stream) string {
	if problem := framingProblem(stream); problem != "" {
		return problem
	}
	parsed, events := stream.Parsed(), stream.Events()
	for i, event := range events {
		if event.ID != strconv.Itoa(i) {
			return fmt.Sprintf("event %d (%s) has the id %q, want %q", i, event.Type, event.ID, strconv.Itoa(i))
		}
		if parsed.Events[i].Lines != 1 {
			return fmt.Sprintf("event %d (%s) has %d data lines, want 1", i, event.Type, parsed.Events[i].Lines)
		}
		var object map[string]any
		if err := json.Unmarshal([]byte(event.Data), &object); err != nil {
			return fmt.Sprintf("the data of event %d (%s) is not a JSON object: %v\n%.200q", i, event.Type, err, event.Data)
		}
	}
	return orderProblem(events)
}

// orderProblem checks started -> token* -> (end | error); metrics may stand between.
func orderProblem(events []target.Event) string {
	tokens, terminal := 0, -1
	for i, event := range events {
		switch {
		case i == 0 && event.Type != "started":
			return fmt.Sprintf("the first event is %q, want \"started\"", event.Type)
		case terminal >= 0:
			return fmt.Sprintf("event %d is %q, after the terminal event %d (%s)", i, event.Type, terminal, events[terminal].Type)
		}
		switch event.Type {
		case "started":
			if i != 0 {
				return fmt.Sprintf("event %d is a second \"started\"", i)
			}
		case "token":
			var token target.Token
			if err := json.Unmarshal([]byte(event.Data), &token); err != nil || token.I == nil || token.T == nil || token.ID == nil {
				return fmt.Sprintf("event %d: a token needs i, t and id, got %s (%v)", i, event.Data, err)
			}
			if *token.I != tokens {
				return fmt.Sprintf("event %d: token has i = %d, want %d", i, *token.I, tokens)
			}
			tokens++
		case "metrics":
		case "end", "error":
			terminal = i
		default:
			return fmt.Sprintf("event %d has the unknown type %q", i, event.Type)
		}
	}
	if terminal < 0 {
		return fmt.Sprintf("after %d events (%d tokens) the stream ends without \"end\" or \"error\"", len(events), tokens)
	}
	return ""
}

// clientBlocks counts what the reader of r3labs/sse hands to a client.
func clientBlocks(raw []byte) int {
	reader := r3sse.NewEventStreamReader(bytes.NewReader(raw), len(raw)+1)
	count := 0
	for {
		if _, err := reader.ReadEvent(); errors.Is(err, io.EOF) {
			return count
		} else if err != nil {
			return -1
		}
		count++
	}
}

// commentBlocks counts blocks of comments alone: those after which no event ends before the next comment's block.
func commentBlocks(stream *target.Stream) int {
	raw, count := stream.Raw(), 0
	for _, comment := range stream.Parsed().Comments {
		if comment.End < len(raw) && (raw[comment.End] == '\n' || raw[comment.End] == '\r') {
			count++
		}
	}
	return count
}

func around(raw []byte, offset int) []byte {
	const before, after = 40, 60
	return raw[max(0, offset-before):min(len(raw), offset+after)]
}

func (m *wellFormed) FailureMessage(any) string {
	return "expected a well-formed event stream, but " + m.problem + "\n" + Rerun("")
}

func (m *wellFormed) NegatedFailureMessage(any) string {
	return "expected an event stream that breaks a rule, but it keeps all of them"
}
