package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/r3labs/sse/v2"
)

// A feed gives the events that have come since its last call, whether they end the stream, and a channel that is closed
// when there are more.
type feed func() (events []*sse.Event, ended bool, more <-chan struct{})

const streamName = "events"

// serveEvents sends a feed to one client until the feed ends or the client goes.
//
// The subscriber, its queue, the framing and the flushing are r3labs/sse's. Every client gets a stream of its own, because
// the loop of a stream waits for its slowest subscriber: here it waits for nobody else, and the engine, which only appends
// to a job's log, waits for none. The log is also what is replayed, so that the library's replay is off.
func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request, next feed) {
	ctx, cancel := context.WithCancel(r.Context())
	subscribed, left, pumped := make(chan struct{}), make(chan struct{}), make(chan struct{})
	server := sse.NewWithCallback(
		func(string, *sse.Subscriber) { close(subscribed) },
		func(string, *sse.Subscriber) { close(left) })
	server.AutoReplay = false
	server.BufferSize = 1
	server.CreateStream(streamName)

	go func() {
		defer close(pumped)
		<-subscribed
		pump(ctx, next, s.options.KeepAlive, func(event *sse.Event) { server.Publish(streamName, event) })
	}()
	request := r.Clone(ctx)
	request.URL = &url.URL{RawQuery: "stream=" + streamName}
	request.Header.Del("Last-Event-ID") // the feed begins where the client wants it
	server.ServeHTTP(&deadlineWriter{ResponseWriter: w, extend: func() { s.extendDeadline(w) }}, request)

	// The library unsubscribes when the request's context ends, and needs the stream's loop for it.
	cancel()
	<-left
	server.Close()
	<-pumped
}

// pump publishes a feed, with comments when it is silent for long. An event without data makes the library end the stream.
func pump(ctx context.Context, next feed, keepAlive time.Duration, publish func(*sse.Event)) {
	for {
		events, ended, more := next()
		for _, event := range events {
			if ctx.Err() != nil {
				return
			}
			publish(event)
		}
		if ended {
			publish(&sse.Event{})
			return
		}
		select {
		case <-more:
		case <-time.After(keepAlive):
			publish(&sse.Event{Comment: []byte("keep-alive")})
		case <-ctx.Done():
			return
		}
	}
}

// deadlineWriter gives the client a limited time for every write, after which the connection is given up. It leaves out
// the library's id line of events that have none: clients of OpenAI's interface expect lines of data alone.
type deadlineWriter struct {
	http.ResponseWriter
	extend func()
}

// Write writes to the client.
func (d *deadlineWriter) Write(data []byte) (int, error) {
	if string(data) == "id: \n" {
		return len(data), nil
	}
	d.extend()
	return d.ResponseWriter.Write(data)
}

// Flush sends what was written.
func (d *deadlineWriter) Flush() {
	d.extend()
	_ = http.NewResponseController(d.ResponseWriter).Flush() // a failure ends the request's context
}
