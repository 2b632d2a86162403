package api

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"touchstone/suites/wire"
)

// Await reads until an event of the wanted type and returns it; a terminal event of another type is an error.
func Await(s *wire.Stream, eventType string) (wire.Event, error) {
	for {
		event, err := s.Next()
		switch {
		case err != nil:
			return event, fmt.Errorf("waiting for the event %q: %w", eventType, err)
		case event.Type == eventType:
			return event, nil
		case event.Type == "end" || event.Type == "error":
			return event, fmt.Errorf("waiting for the event %q: the stream ended with %q %s", eventType, event.Type, event.Data)
		}
	}
}

// Generation is the content of a complete stream of POST /execute.
type Generation struct {
	Started *Started
	Tokens  []Token
	End     *End
	Failure *Failure
}

// ReadGeneration decodes the events of a complete stream of POST /execute; its error names the event that cannot be.
func ReadGeneration(s *wire.Stream) (Generation, error) {
	var out Generation
	if !s.IsEventStream() {
		return out, fmt.Errorf("the answer is %d %s, not an event stream:\n%s", s.Status, s.Header.Get("Content-Type"), wire.Abridge(string(s.Raw())))
	}
	for i, event := range s.Events() {
		var err error
		switch event.Type {
		case "started":
			out.Started = new(Started)
			err = json.Unmarshal([]byte(event.Data), out.Started)
		case "token":
			var token Token
			err = json.Unmarshal([]byte(event.Data), &token)
			out.Tokens = append(out.Tokens, token)
		case "end":
			out.End = new(End)
			err = json.Unmarshal([]byte(event.Data), out.End)
		case "error":
			out.Failure = new(Failure)
			err = json.Unmarshal([]byte(event.Data), out.Failure)
		}
		if err != nil {
			return out, fmt.Errorf("event %d (%s) cannot be decoded: %w\n%s", i, event.Type, err, wire.Abridge(event.Data))
		}
	}
	return out, nil
}

// Text is what the tokens say together.
func (g Generation) Text() string {
	var text strings.Builder
	for _, token := range g.Tokens {
		if token.T != nil {
			text.WriteString(*token.T)
		}
	}
	return text.String()
}

// IDs are the token ids; -1 where an event has none.
func (g Generation) IDs() []int32 {
	ids := make([]int32, len(g.Tokens))
	for i, token := range g.Tokens {
		ids[i] = -1
		if token.ID != nil {
			ids[i] = int32(*token.ID)
		}
	}
	return ids
}

// StreamProblem is the first rule that a complete stream breaks, or "".
func StreamProblem(stream *wire.Stream) string {
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
func orderProblem(events []wire.Event) string {
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
			var token Token
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
