package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"touchstone/worker/api"
	"touchstone/worker/engine"
	"touchstone/worker/internal/problem"
)

// turnMark stands before what a user writes on a terminal.
const turnMark = "> "

// converse takes a turn a line and answers each, until the lines end or ctx does. An interrupt ends an answer alone.
func (s *speaker) converse(ctx context.Context, stdin io.Reader) error {
	interrupted, release := interrupts(ctx)
	defer release()
	lines, err := newLines(stdin, s.stderr)
	if err != nil {
		return err
	}
	defer lines.restore()
	fmt.Fprintln(s.stderr, s.welcome())
	var history []api.Message
	for {
		line, err := lines.next(ctx)
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			fmt.Fprintln(s.stderr) // the shell begins a line of its own
			return nil
		}
		if err != nil {
			return err
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		history = s.turn(ctx, interrupted, history, line)
	}
}

func (s *speaker) welcome() string {
	if s.template == nil {
		return "The model has no chat template: it goes on with each line by itself. Ctrl-C ends an answer, Ctrl-D quits."
	}
	return "A line is a turn. Ctrl-C ends an answer, Ctrl-D quits."
}

// turn answers one line and returns the history with it. What cannot be answered is said and leaves the history as it was.
func (s *speaker) turn(ctx context.Context, interrupted <-chan os.Signal, history []api.Message, line string) []api.Message {
	answering, stop := context.WithCancel(ctx)
	defer stop()
	select { // an interrupt before the answer is not meant for it
	case <-interrupted:
	default:
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-interrupted:
			stop()
		case <-answering.Done():
		}
	}()
	text, err := s.answer(answering, history, line)
	for contextIsFull(err) && len(history) > 0 {
		history = history[2:] // a turn and its answer
		fmt.Fprintln(s.stderr, "the context is full: the oldest turn is forgotten")
		text, err = s.answer(answering, history, line)
	}
	stop()
	<-watched
	var failed *problem.Problem
	switch {
	case errors.As(err, &failed) && failed.Code == problem.Cancelled:
		fmt.Fprintln(s.stdout)
		fmt.Fprintln(s.stderr, "interrupted")
	case err != nil:
		fmt.Fprintln(s.stderr, err)
		return history
	}
	if s.template == nil {
		return nil
	}
	return append(history, api.Message{Role: "user", Content: line}, api.Message{Role: "assistant", Content: text})
}

// contextIsFull tells whether a prompt was refused for its length.
func contextIsFull(err error) bool {
	var p *problem.Problem
	return errors.As(err, &p) && len(p.Errors) > 0 && p.Errors[0].Field == "max_tokens"
}

// lines reads what a user writes: with line editing on a terminal, plainly elsewhere.
type lines struct {
	read    func() (string, error)
	restore func() // gives the terminal back as it was
}

func newLines(stdin io.Reader, stderr io.Writer) (*lines, error) {
	file, ok := stdin.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		reader := bufio.NewReader(stdin)
		return &lines{restore: func() {}, read: func() (string, error) { return readLine(reader) }}, nil
	}
	before, err := term.GetState(int(file.Fd()))
	if err != nil {
		return nil, err
	}
	restore := func() { _ = term.Restore(int(file.Fd()), before) }
	terminal := term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{file, stderr}, turnMark)
	return &lines{restore: restore, read: func() (string, error) {
		// Only while a line is read: while the model answers, Ctrl-C is a signal.
		if _, err := term.MakeRaw(int(file.Fd())); err != nil {
			return "", err
		}
		defer restore()
		if width, height, err := term.GetSize(int(file.Fd())); err == nil && width > 0 {
			_ = terminal.SetSize(width, height)
		}
		return terminal.ReadLine()
	}}, nil
}

// readLine reads a line of at most as many bytes as a prompt may have.
func readLine(reader *bufio.Reader) (string, error) {
	var line []byte
	for {
		part, more, err := reader.ReadLine()
		if err != nil {
			return string(line), err
		}
		if line = append(line, part...); len(line) > engine.MaxPromptCharacters*4 {
			return "", fmt.Errorf("a line is longer than a prompt of %d characters", engine.MaxPromptCharacters)
		}
		if !more {
			return string(line), nil
		}
	}
}

// next gives the next line; it does not wait for one once ctx has ended. A read that is left waiting ends with the process.
func (l *lines) next(ctx context.Context) (string, error) {
	type result struct {
		line string
		err  error
	}
	read := make(chan result, 1)
	go func() {
		line, err := l.read()
		read <- result{line, err}
	}()
	select {
	case r := <-read:
		return r.line, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
