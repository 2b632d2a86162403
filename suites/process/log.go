package process

import (
	"fmt"
	"strings"
	"sync"
)

// boundedLog keeps the first and the last half of a limit of bytes. It is safe for concurrent use.
type boundedLog struct {
	mu    sync.Mutex
	limit int
	total int
	head  []byte
	last  []byte
}

func newBoundedLog(limit int) *boundedLog { return &boundedLog{limit: limit} }

// Write never fails and never blocks the writer.
func (l *boundedLog) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	half := l.limit / 2
	l.total += len(text)
	rest := text
	if room := half - len(l.head); room > 0 {
		n := min(room, len(rest))
		l.head = append(l.head, rest[:n]...)
		rest = rest[n:]
	}
	l.last = append(l.last, rest...)
	if len(l.last) > 2*half { // trimmed now and then, not at every write
		l.last = append([]byte(nil), l.last[len(l.last)-half:]...)
	}
	return len(text), nil
}

// String gives what is kept, with a note of what is left out.
func (l *boundedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	last := l.last[max(0, len(l.last)-l.limit/2):]
	omitted := l.total - len(l.head) - len(last)
	if omitted == 0 {
		return string(l.head) + string(last)
	}
	return fmt.Sprintf("%s\n[... %d bytes left out ...]\n%s", l.head, omitted, last)
}

func (l *boundedLog) written() (total, limit int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total, l.limit
}

// tail gives the last lines.
func (l *boundedLog) tail(lines int) string {
	all := strings.Split(strings.TrimRight(l.String(), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
