// Package sse reads an event stream as the WHATWG HTML standard defines it (section 9.2.5 "Parsing an event stream" and
// 9.2.6 "Interpreting an event stream"), and lists everything that departs from its grammar. A client must forgive what a
// server must not send: the events are those a conforming client would see, the problems are the server's.
package sse

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// An Event is what a client would dispatch.
type Event struct {
	ID   string // the last event id in force
	Type string // "message" if the stream names none
	Data string // data lines joined by "\n"
	// Lines is the number of data lines, and End the offset of the byte after the event's blank line.
	Lines int
	End   int
}

// A Comment is a line that begins with a colon.
type Comment struct {
	Text string
	End  int // offset of the byte after the line
}

// A Stream is what was found in the bytes of a stream.
type Stream struct {
	Events   []Event
	Comments []Comment
	Retry    string    // the last valid reconnection time in milliseconds; empty if none was sent
	Problems []Problem // in the order of their offsets
}

// A Problem is a place where the bytes depart from the grammar.
type Problem struct {
	Offset int
	Text   string
}

// String gives the place and the text.
func (p Problem) String() string { return fmt.Sprintf("byte %d: %s", p.Offset, p.Text) }

// Parse reads a complete stream.
func Parse(raw []byte) Stream {
	p := parser{raw: raw}
	p.checkEncoding()
	p.at = len(raw) - len(bytes.TrimPrefix(raw, []byte("\ufeff")))
	for p.at < len(raw) {
		p.line()
	}
	if p.named {
		p.problem(p.start, "the stream ends inside an event: its blank line is missing, and a client drops the event")
	}
	return p.out
}

type parser struct {
	raw []byte
	at  int
	out Stream

	start     int // offset of the first line of the event under way
	data      []string
	eventType string
	named     bool // the event under way has an event, id or data line
	lastID    string
}

func (p *parser) problem(offset int, format string, arguments ...any) {
	p.out.Problems = append(p.out.Problems, Problem{Offset: offset, Text: fmt.Sprintf(format, arguments...)})
}

func (p *parser) checkEncoding() {
	for at := 0; at < len(p.raw); {
		r, size := utf8.DecodeRune(p.raw[at:])
		if r == utf8.RuneError && size <= 1 {
			p.problem(at, "the byte 0x%02x is not UTF-8", p.raw[at])
			return // one place is enough: what follows would repeat it
		}
		at += size
	}
}

// line takes the next line, which ends with CR LF, LF or CR; an unfinished last line is not processed.
func (p *parser) line() {
	start := p.at
	length := bytes.IndexAny(p.raw[start:], "\r\n")
	if length < 0 {
		p.at = len(p.raw)
		p.problem(start, "the last line %s has no end", quote(p.raw[start:]))
		return
	}
	text := string(p.raw[start : start+length])
	p.at = start + length + 1
	if p.raw[start+length] == '\r' && p.at < len(p.raw) && p.raw[p.at] == '\n' {
		p.at++
	}
	if text == "" {
		p.dispatch()
		return
	}
	if comment, isComment := strings.CutPrefix(text, ":"); isComment {
		p.out.Comments = append(p.out.Comments, Comment{Text: strings.TrimPrefix(comment, " "), End: p.at})
		return
	}
	if !p.named {
		p.start = start
	}
	p.field(start, text)
}

func (p *parser) field(start int, text string) {
	name, value, _ := strings.Cut(text, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "data":
		p.data, p.named = append(p.data, value), true
	case "event":
		p.eventType, p.named = value, true
	case "id":
		p.named = true
		if strings.ContainsRune(value, 0) {
			p.problem(start, "the id holds a NUL, a client ignores it")
			return
		}
		p.lastID = value
	case "retry":
		if value == "" || strings.Trim(value, "0123456789") != "" {
			p.problem(start, "retry is %s, not a number of milliseconds", quote([]byte(value)))
			return
		}
		p.out.Retry = value
	default:
		p.problem(start, "the line %s is no field of an event stream, a client drops it", quote([]byte(text)))
	}
}

func (p *parser) dispatch() {
	defer func() { p.data, p.eventType, p.named = nil, "", false }()
	if !p.named {
		return
	}
	if len(p.data) == 0 {
		p.problem(p.start, "an event %q without data, a client drops it", p.eventType)
		return
	}
	eventType := p.eventType
	if eventType == "" {
		eventType = "message"
	}
	p.out.Events = append(p.out.Events, Event{
		ID: p.lastID, Type: eventType, Data: strings.Join(p.data, "\n"), Lines: len(p.data), End: p.at,
	})
}

func quote(line []byte) string {
	const most = 40
	if len(line) > most {
		return fmt.Sprintf("%q...", line[:most])
	}
	return fmt.Sprintf("%q", line)
}
