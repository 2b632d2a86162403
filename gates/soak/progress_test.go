package soak_test

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"touchstone/reports/soak"
)

// progress tells how far a soak is: a bar on a terminal, a line a minute elsewhere.
type progress struct {
	out      io.Writer
	bar      *progressbar.ProgressBar // nil where out is no terminal
	total    int                      // runs of this shard; 0: as many as time allows
	done     int
	failed   int
	here     int // runs done by this process
	start    time.Time
	lastLine time.Time
}

const lineInterval = time.Minute

func newProgress(out *os.File, seed uint64, ledger *soak.Ledger) *progress {
	p := &progress{out: out, done: ledger.Done(), start: time.Now(), lastLine: time.Now()}
	for index := range *settings.runs {
		if shard.Has(index) {
			p.total++
		}
	}
	fmt.Fprintf(out, "\nsoak: master seed %d, shard %s, %d of %s done, ledger in %s\n", seed, shard, p.done, p.goal(), profile.ReportDir)
	if !term.IsTerminal(int(out.Fd())) {
		return p
	}
	length := int64(p.total)
	if p.total == 0 {
		length = -1 // a spinner with a rate
	}
	p.bar = progressbar.NewOptions64(length, progressbar.OptionSetWriter(out), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("runs"), progressbar.OptionSetPredictTime(true), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetDescription(p.description()))
	_ = p.bar.Set(p.done) // what cannot be drawn is not worth failing for
	return p
}

func (p *progress) goal() string {
	if p.total > 0 {
		return fmt.Sprint(p.total)
	}
	return "as many as " + settings.duration.String() + " allows"
}

func (p *progress) description() string { return fmt.Sprintf("soak, %d failed", p.failed) }

// observe is told of every run.
func (p *progress) observe(record soak.Record) {
	p.done++
	p.here++
	if record.Verdict != soak.Same {
		p.failed++
	}
	if p.bar != nil {
		p.bar.Describe(p.description())
		_ = p.bar.Add(1)
		return
	}
	if now := time.Now(); now.Sub(p.lastLine) >= lineInterval {
		p.lastLine = now
		fmt.Fprintln(p.out, p.line(now))
	}
}

// line gives the rate of this process and, where the goal is known, the time left.
func (p *progress) line(now time.Time) string {
	elapsed := now.Sub(p.start)
	text := fmt.Sprintf("soak: %d of %s runs, %d failed, %.1f runs/s", p.done, p.goal(), p.failed, float64(p.here)/elapsed.Seconds())
	if p.total > 0 && p.here > 0 {
		left := time.Duration(float64(elapsed) / float64(p.here) * float64(p.total-p.done))
		text += fmt.Sprintf(", %s left", left.Round(time.Second))
	}
	return text
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Exit()
	}
	fmt.Fprintln(p.out, p.line(time.Now()))
}
