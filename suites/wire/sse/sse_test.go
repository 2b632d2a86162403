package sse

import (
	"strings"
	"testing"
)

func TestEvents(t *testing.T) {
	cases := []struct {
		name, raw string
		want      []Event
	}{
		{"one event", "id: 0\nevent: started\ndata: {}\n\n", []Event{{ID: "0", Type: "started", Data: "{}", Lines: 1, End: 31}}},
		{"no type, no space", "data:x\n\n", []Event{{Type: "message", Data: "x", Lines: 1, End: 8}}},
		{"one space is removed", "data:  x\n\n", []Event{{Type: "message", Data: " x", Lines: 1, End: 10}}},
		{"two lines of data", "data: a\ndata: b\n\n", []Event{{Type: "message", Data: "a\nb", Lines: 2, End: 17}}},
		{"CR LF", "data: a\r\n\r\n", []Event{{Type: "message", Data: "a", Lines: 1, End: 11}}},
		{"CR", "data: a\r\rdata: b\r\r", []Event{{Type: "message", Data: "a", Lines: 1, End: 9}, {Type: "message", Data: "b", Lines: 1, End: 18}}},
		{"byte order mark", "\ufeffdata: a\n\n", []Event{{Type: "message", Data: "a", Lines: 1, End: 12}}},
		{"the id stays in force", "id: 7\ndata: a\n\ndata: b\n\n", []Event{{ID: "7", Type: "message", Data: "a", Lines: 1, End: 15}, {ID: "7", Type: "message", Data: "b", Lines: 1, End: 24}}},
		{"comments and blank lines", ": hi\n\n\ndata: a\n\n", []Event{{Type: "message", Data: "a", Lines: 1, End: 16}}},
		{"data without colon", "data\n\n", []Event{{Type: "message", Data: "", Lines: 1, End: 6}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Parse([]byte(c.raw))
			if len(got.Problems) != 0 {
				t.Errorf("problems %v", got.Problems)
			}
			if len(got.Events) != len(c.want) {
				t.Fatalf("got %+v, want %+v", got.Events, c.want)
			}
			for i := range c.want {
				if got.Events[i] != c.want[i] {
					t.Errorf("event %d: got %+v, want %+v", i, got.Events[i], c.want[i])
				}
			}
		})
	}
}

func TestProblems(t *testing.T) {
	cases := []struct{ name, raw, want string }{
		{"stray newline in data", "data: {\"t\":\"a\nb\"}\n\n", "byte 14: the line"},
		{"not UTF-8", "data: \xe2\x82\n\n", "byte 6: the byte 0xe2"},
		{"no blank line at the end", "data: a\n", "ends inside an event"},
		{"no end of line", "data: a", "has no end"},
		{"event without data", "event: end\n\n", "without data"},
		{"retry is no number", "retry: soon\ndata: a\n\n", "retry"},
		{"NUL in the id", "id: a\x00\ndata: a\n\n", "NUL"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := Parse([]byte(c.raw))
			if len(got.Problems) == 0 || !strings.Contains(got.Problems[0].String(), c.want) {
				t.Errorf("got %v, want %q", got.Problems, c.want)
			}
		})
	}
}

func TestComments(t *testing.T) {
	got := Parse([]byte(": keep-alive\n\nretry: 3000\n\n"))
	if len(got.Comments) != 1 || got.Comments[0].Text != "keep-alive" || got.Retry != "3000" || len(got.Problems) != 0 {
		t.Errorf("got %+v", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("id: 0\nevent: started\ndata: {}\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, event := range Parse(raw).Events {
			if event.End <= 0 || event.End > len(raw) {
				t.Errorf("an event ends at %d of %d", event.End, len(raw))
			}
		}
	})
}
