package api

import (
	"encoding/json"
	"fmt"

	"touchstone/suites/wire"
)

// CompletionProblem is the first rule that a complete stream of the OpenAI API breaks, or "".
func CompletionProblem(stream *wire.Stream) string {
	if problem := framingProblem(stream); problem != "" {
		return problem
	}
	events := stream.Events()
	finished, done := -1, -1
	for i, event := range events {
		switch {
		case done >= 0:
			return fmt.Sprintf("event %d comes after event %d, which was [DONE]: %.200q", i, done, event.Data)
		case event.Type != "message":
			return fmt.Sprintf("event %d has the type %q, want none", i, event.Type)
		case stream.Parsed().Events[i].Lines != 1:
			return fmt.Sprintf("event %d has %d data lines, want 1", i, stream.Parsed().Events[i].Lines)
		case event.Data == Done:
			done = i
			continue
		}
		var chunk CompletionBody
		if err := json.Unmarshal([]byte(event.Data), &chunk); err != nil {
			return fmt.Sprintf("the data of event %d is not the JSON of a chunk: %v\n%.200q", i, err, event.Data)
		}
		if problem := chunkProblem(chunk); problem != "" {
			return fmt.Sprintf("event %d: %s\n%.200q", i, problem, event.Data)
		}
		if len(chunk.Choices) == 0 {
			continue // the usage
		}
		if finished >= 0 {
			return fmt.Sprintf("event %d is a choice after event %d, which had the finish_reason: %.200q", i, finished, event.Data)
		}
		if chunk.Choices[0].FinishReason != nil {
			finished = i
		}
	}
	switch {
	case finished < 0:
		return fmt.Sprintf("the stream of %d events has no finish_reason", len(events))
	case done < 0:
		return fmt.Sprintf("after %d events the stream ends without [DONE]", len(events))
	}
	return ""
}

func chunkProblem(chunk CompletionBody) string {
	switch {
	case len(chunk.Error) > 0:
		return "the stream ends with an error"
	case len(chunk.Choices) == 0 && chunk.Usage == nil:
		return "a chunk with neither choice nor usage"
	case len(chunk.Choices) > 1:
		return fmt.Sprintf("a chunk with %d choices, want 1", len(chunk.Choices))
	case len(chunk.Choices) == 1 && (chunk.Choices[0].Index == nil || *chunk.Choices[0].Index != 0):
		return "a choice whose index is not 0"
	case len(chunk.Choices) == 1 && chunk.Choices[0].Text == nil && chunk.Choices[0].Delta == nil:
		return "a choice with neither text nor delta"
	}
	return ""
}
