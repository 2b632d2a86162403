package command

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/worker/api"
	"touchstone/worker/engine"
	"touchstone/worker/internal/fake"
	"touchstone/worker/internal/metrics"
)

// screen is what a conversation writes, safe to look at meanwhile.
type screen struct {
	mu sync.Mutex
	bytes.Buffer
}

// Write adds to the screen.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Buffer.Write(p)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.String()
}

// seenPrompt collects the tokens of all prompts as text.
func seenPrompt(mu *sync.Mutex, prompt *[]byte) func(items []native.StepItem) {
	return func(items []native.StepItem) {
		mu.Lock()
		defer mu.Unlock()
		for _, item := range items {
			for _, id := range item.Tokens {
				*prompt = append(*prompt, fake.Tokenizer{}.Piece(id)...)
			}
		}
	}
}

// conversation starts a conversation with the fake model, which says what stands after the last "|".
func conversation(t *testing.T, device *fake.Device, template string) (stdin io.WriteCloser, out *screen, ended <-chan error) {
	t.Helper()
	e, err := engine.New(engine.Options{
		Context: device, Model: device, Tokenizer: fake.Tokenizer{}, ModelName: "fake", ContextLength: fake.ContextLength,
		MaxTokens: engine.MaxOutputTokens, MaxJobs: 1, PrefillChunk: 16, InferenceTimeout: time.Minute, ResidencyInterval: time.Hour,
		KeepEnded: 1, KeepFor: time.Hour, Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(time.Now()),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &speaker{engine: e, parameters: engine.DefaultParameters(), system: "s"}
	if template != "" {
		if s.template, err = api.NewChatTemplate(template, "", ""); err != nil {
			t.Fatal(err)
		}
	}
	out = &screen{}
	s.stdout, s.stderr = out, out
	reader, writer := io.Pipe()
	ctx, stop := untilSignal(out)
	result := make(chan error, 1)
	go func() { result <- s.converse(ctx, reader) }()
	t.Cleanup(func() {
		_ = writer.Close()
		stop()
		e.Close()
	})
	return writer, out, result
}

const turns = `{% for m in messages %}[{{ m.role[0] }}:{{ m.content }}]{% endfor %}`

// The model sees the system's message and all turns before, its own included.
func TestConversationHasAHistory(t *testing.T) {
	g := NewWithT(t)
	var mu sync.Mutex
	var prompt []byte
	device := fake.NewDevice(100)
	device.Stepped = seenPrompt(&mu, &prompt)
	stdin, out, ended := conversation(t, device, turns)
	for _, line := range []string{"x|one\n", "\n", "y|two\n"} {
		_, err := io.WriteString(stdin, line)
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(stdin.Close()).To(Succeed())
	g.Expect(<-ended).To(Succeed())
	g.Expect(out.text()).To(And(ContainSubstring("one]\n"), ContainSubstring("two]\n")))
	mu.Lock()
	defer mu.Unlock()
	g.Expect(string(prompt)).To(And(ContainSubstring("[s:s][u:x|one]"), ContainSubstring("[s:s][u:x|one][a:one]][u:y|two]")))
}

// When the history has no room for another turn, the oldest turns are forgotten, and the conversation goes on.
func TestConversationForgetsWhenTheContextIsFull(t *testing.T) {
	g := NewWithT(t)
	stdin, out, ended := conversation(t, fake.NewDevice(100), turns)
	for range 6 {
		_, err := io.WriteString(stdin, strings.Repeat("a", 60)+"\n")
		g.Expect(err).NotTo(HaveOccurred())
	}
	g.Expect(stdin.Close()).To(Succeed())
	g.Expect(<-ended).To(Succeed())
	g.Expect(out.text()).To(ContainSubstring("the oldest turn is forgotten"))
	g.Expect(strings.Count(out.text(), "tokens after a prompt of")).To(Equal(6), out.text())
}

// An interrupt ends an answer and not the conversation.
func TestInterruptEndsAnAnswer(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{})
	stdin, out, ended := conversation(t, device, "")
	_, err := io.WriteString(stdin, "endless\n")
	g.Expect(err).NotTo(HaveOccurred())
	for range 4 {
		device.Permits <- struct{}{}
	}
	g.Eventually(out.text).Should(ContainSubstring("ab"))
	g.Expect(syscall.Kill(syscall.Getpid(), syscall.SIGINT)).To(Succeed())
	g.Eventually(out.text).Should(ContainSubstring("interrupted"))
	_, err = io.WriteString(stdin, "x|on\n")
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(t.Context())
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for {
			select {
			case device.Permits <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
	}()
	g.Eventually(out.text).Should(ContainSubstring("on\n"))
	g.Expect(stdin.Close()).To(Succeed())
	g.Expect(<-ended).To(Succeed())
	cancel()
	<-fed
}

func TestPromptFromStdin(t *testing.T) {
	g := NewWithT(t)
	f := &runFlags{}
	g.Expect(f.check([]string{"-"}, strings.NewReader("two\nlines\n"))).To(Equal("two\nlines"))
	_, err := f.check([]string{"-"}, strings.NewReader("\n"))
	g.Expect(err).To(MatchError(ContainSubstring("stdin")))
	_, err = f.check([]string{"-"}, strings.NewReader(strings.Repeat("é", engine.MaxPromptCharacters+1)))
	g.Expect(err).To(MatchError(ContainSubstring("stdin")))
}
