package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	r3sse "github.com/r3labs/sse/v2"

	"touchstone/suites/wire"
)

// framingProblem is the first rule that the bytes of a stream break, whatever they say, or "".
func framingProblem(stream *wire.Stream) string {
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
func commentBlocks(stream *wire.Stream) int {
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
