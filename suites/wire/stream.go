package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"

	r3sse "github.com/r3labs/sse/v2"

	"touchstone/reports/evidence"
	"touchstone/suites/wire/sse"
)

// maxEvent bounds one event of a stream.
const maxEvent = 1 << 20

// Stream is the answer to a request for events. It is read with the reader of r3labs/sse, as an ordinary client would read
// it, while all bytes and the times of their arrival are kept for a strict look at the framing afterwards.
type Stream struct {
	Status int
	Header http.Header

	reader   *r3sse.EventStreamReader
	record   *recorder
	exchange evidence.Exchange
	cancel   context.CancelFunc
	close    sync.Once
	ended    error
}

// Event is an event as an ordinary client sees it.
type Event struct {
	ID   string
	Type string
	Data string
	At   time.Duration // since the request was sent
}

// Open makes a call whose answer is a stream. A refusal is not an error: look at Status first. The caller closes it.
func (c *Client) Open(ctx context.Context, call Call) (*Stream, error) {
	ctx, cancel := context.WithCancel(ctx)
	start := time.Now()
	response, exchange, err := c.send(ctx, call.With("Accept", "text/event-stream"))
	if err != nil {
		cancel()
		return nil, err
	}
	record := &recorder{body: response.Body, start: start}
	return &Stream{
		Status: response.StatusCode, Header: response.Header, record: record, exchange: exchange, cancel: cancel,
		reader: r3sse.NewEventStreamReader(record, maxEvent),
	}, nil
}

// Next gives the next event; io.EOF after the last. Blocks of comments alone are passed over.
func (s *Stream) Next() (Event, error) {
	for {
		block, err := s.reader.ReadEvent()
		if err != nil {
			s.ended = err
			return Event{}, err
		}
		if event, hasContent := readBlock(block); hasContent {
			event.At = time.Since(s.record.start)
			return event, nil
		}
	}
}

// Drain reads to the end of the stream. An end that the peer cut off is an error.
func (s *Stream) Drain() error {
	for {
		if _, err := s.Next(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the stream breaks off after %d bytes: %w", len(s.Raw()), err)
		}
	}
}

// Close ends the request, also a running one, as a client that goes away. Closing again does nothing.
func (s *Stream) Close() {
	s.close.Do(func() {
		s.cancel()
		_ = s.record.body.Close()
	})
}

// Raw is every byte that arrived.
func (s *Stream) Raw() []byte { return s.record.bytes() }

// Parsed is the strict reading of what arrived.
func (s *Stream) Parsed() sse.Stream { return sse.Parse(s.Raw()) }

// Events are the events that arrived so far, with the arrival of the bytes that completed them.
func (s *Stream) Events() []Event {
	parsed := s.Parsed()
	events := make([]Event, len(parsed.Events))
	for i, e := range parsed.Events {
		events[i] = Event{ID: e.ID, Type: e.Type, Data: e.Data, At: s.record.arrival(e.End)}
	}
	return events
}

// Arrivals tells at how many moments the events so far came, and the times between neighbours in milliseconds.
func (s *Stream) Arrivals() (moments int, gaps []float64) {
	events := s.Events()
	seen := map[time.Duration]bool{}
	for i, event := range events {
		seen[event.At] = true
		if i > 0 {
			gaps = append(gaps, Milliseconds(event.At-events[i-1].At))
		}
	}
	return len(seen), gaps
}

// IsEventStream tells whether the answer says it is one, and is a success.
func (s *Stream) IsEventStream() bool {
	kind, _, err := mime.ParseMediaType(s.Header.Get("Content-Type"))
	return s.Status == http.StatusOK && err == nil && kind == "text/event-stream"
}

// Exchange is the stream so far as evidence.
func (s *Stream) Exchange() evidence.Exchange {
	exchange := s.exchange
	for _, e := range s.Events() {
		exchange.Events = append(exchange.Events, evidence.Event{AtMS: Milliseconds(e.At), ID: e.ID, Event: e.Type, Data: e.Data})
	}
	if !s.IsEventStream() {
		exchange.ResponseBody = string(s.Raw())
	}
	if s.ended != nil && !errors.Is(s.ended, io.EOF) {
		exchange.Error = s.ended.Error()
	}
	exchange.ElapsedMS = Milliseconds(s.record.arrival(len(s.Raw())))
	return exchange
}

// readBlock takes the fields of one block of lines; false if it has none.
func readBlock(block []byte) (Event, bool) {
	var event Event
	var data []string
	hasContent := false
	for _, line := range bytes.FieldsFunc(block, func(r rune) bool { return r == '\n' || r == '\r' }) {
		name, value, _ := strings.Cut(string(line), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "id":
			event.ID = value
		case "event":
			event.Type = value
		case "data":
			data = append(data, value)
		default:
			continue
		}
		hasContent = true
	}
	event.Data = strings.Join(data, "\n")
	return event, hasContent
}

// recorder passes a body on and keeps its bytes with the times of their arrival.
type recorder struct {
	body  io.ReadCloser
	start time.Time

	mu   sync.Mutex
	raw  []byte
	ends []int // offsets after each read
	at   []time.Duration
}

// Read is io.Reader.
func (r *recorder) Read(into []byte) (int, error) {
	n, err := r.body.Read(into)
	if n > 0 {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.raw = append(r.raw, into[:n]...)
		r.ends = append(r.ends, len(r.raw))
		r.at = append(r.at, time.Since(r.start))
	}
	return n, err
}

func (r *recorder) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.raw)
}

// arrival is when the byte before offset came.
func (r *recorder) arrival(offset int) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := sort.SearchInts(r.ends, offset)
	if i >= len(r.at) {
		return 0
	}
	return r.at[i]
}
