package engine_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gleak"

	"touchstone/native"
	"touchstone/worker/engine"
	"touchstone/worker/internal/fake"
	"touchstone/worker/internal/metrics"
	"touchstone/worker/internal/problem"
)

// newEngine starts an engine on a device, and checks at the end of the test that nothing is left of it.
func newEngine(t *testing.T, device *fake.Device, adjust ...func(*engine.Options)) *engine.Engine {
	t.Helper()
	g := NewWithT(t)
	before := gleak.Goroutines()
	options := engine.Options{
		Context: device, Model: device, Tokenizer: fake.Tokenizer{}, ModelName: "fake", ContextLength: fake.ContextLength,
		MaxTokens: engine.MaxOutputTokens, MaxJobs: 8, Queue: 8, PrefillChunk: 16, InferenceTimeout: time.Minute,
		ResidencyInterval: time.Hour, KeepEnded: 100, KeepFor: time.Hour,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(time.Now()),
	}
	for _, f := range adjust {
		f(&options)
	}
	e, err := engine.New(options)
	g.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(func() {
		_ = e.Close() // what it leaves is checked next
		g.Expect(device.OpenSessions()).To(BeZero(), "sessions left open")
		g.Eventually(gleak.Goroutines).ShouldNot(gleak.HaveLeaked(before))
	})
	return e
}

func request(id, prompt string, maxTokens int) engine.Request {
	parameters := engine.DefaultParameters()
	parameters.MaxTokens = maxTokens
	return engine.Request{JobID: id, Prompt: prompt, Parameters: parameters}
}

// wait reads a job's events to the end.
func wait(t *testing.T, job *engine.Job) []engine.Event {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		events, ended, more := job.Since(0)
		if ended {
			return events
		}
		select {
		case <-more:
		case <-deadline:
			t.Fatalf("the job did not end; events so far: %+v", events)
		}
	}
}

// submit runs a request to the end.
func submit(t *testing.T, e *engine.Engine, r engine.Request) []engine.Event {
	t.Helper()
	job, err := e.Submit(r)
	if err != nil {
		t.Fatal(err)
	}
	return wait(t, job)
}

// text joins the tokens of a job and checks their order.
func text(t *testing.T, events []engine.Event) string {
	t.Helper()
	var text strings.Builder
	if _, ok := events[0].(engine.Started); !ok {
		t.Fatalf("the first event is %+v", events[0])
	}
	for i, event := range events[1 : len(events)-1] {
		token := event.(engine.Token)
		if token.Index != i {
			t.Fatalf("token %d has i = %d", i, token.Index)
		}
		text.WriteString(token.Text)
	}
	return text.String()
}

func last[E engine.Event](t *testing.T, events []engine.Event) E {
	t.Helper()
	event, ok := events[len(events)-1].(E)
	if !ok {
		t.Fatalf("the last event is %+v", events[len(events)-1])
	}
	return event
}

func codeOf(err error) problem.Code {
	var p *problem.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return ""
}

func TestStopReasons(t *testing.T) {
	e := newEngine(t, fake.NewDevice(100))
	cases := []struct {
		name, prompt string
		maxTokens    int
		stop         []string
		wantText     string
		wantTokens   int
		wantReason   engine.StopReason
	}{
		{"max tokens", "x", 3, nil, "abc", 3, engine.StopMaxTokens},
		{"one token", "x", 1, nil, "a", 1, engine.StopMaxTokens},
		{"end of text", "x|hello", 50, nil, "hello", 5, engine.StopEndOfText},
		{"stop across tokens", "x", 50, []string{"def"}, "abc", 6, engine.StopSequence},
		{"stop at once", "x", 50, []string{"a"}, "", 1, engine.StopSequence},
		{"first to end wins", "x", 50, []string{"cdef", "d"}, "abc", 4, engine.StopSequence},
		{"false start", "x|ababac!", 50, []string{"abac"}, "ab", 6, engine.StopSequence},
		{"held at the end", "x|hell", 50, []string{"hello"}, "hell", 4, engine.StopEndOfText},
		{"held at max tokens", "x|hello", 4, []string{"hello"}, "hell", 4, engine.StopMaxTokens},
		{"characters of several tokens", "x|é😀", 50, nil, "é😀", 6, engine.StopEndOfText},
		{"cut character", "x|é😀", 4, nil, "é\uFFFD", 4, engine.StopMaxTokens},
		{"stop of several bytes", "x|aé😀b", 50, []string{"😀"}, "aé", 7, engine.StopSequence},
		{"no text at all", "x|", 50, nil, "", 0, engine.StopEndOfText},
		{"cut character at the end", "x|a\xc3", 50, nil, "a\uFFFD", 2, engine.StopEndOfText},
		{"context full", strings.Repeat("x", fake.ContextLength-6), 0, nil, "abcde", 5, engine.StopContextFull},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			r := request(fmt.Sprint("job", i), c.prompt, c.maxTokens)
			if c.stop != nil {
				r.Stop = c.stop
			}
			events := submit(t, e, r)
			end := last[engine.End](t, events)
			g.Expect(text(t, events)).To(Equal(c.wantText))
			g.Expect(end.StopReason).To(Equal(c.wantReason))
			g.Expect(end.TokensOut).To(Equal(c.wantTokens))
			g.Expect(events).To(HaveLen(c.wantTokens + 2))
		})
	}
}

func TestContextAndMemoryAreCheckedBeforeAnythingRuns(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(2)
	device.Stepped = func([]native.StepItem) { t.Error("a step ran") }
	e := newEngine(t, device)
	_, err := e.Submit(request("a", strings.Repeat("x", 199), 57))
	g.Expect(err).To(MatchError(ContainSubstring("the prompt has 200 tokens and max_tokens is 57: together 257, but the context holds 256")))
	g.Expect(codeOf(err)).To(Equal(problem.InvalidRequest))
	_, err = e.Submit(request("a", strings.Repeat("x", fake.ContextLength-1), 0))
	g.Expect(codeOf(err)).To(Equal(problem.InvalidRequest), "a prompt that leaves no room")
	_, err = e.Submit(request("a", "x", 63))
	g.Expect(codeOf(err)).To(Equal(problem.InsufficientVRAM))
	g.Expect(err).To(MatchError(ContainSubstring("required 3000 bytes, available 2000 bytes")))
}

func TestJobsDecodeTogetherAndALongPrefillIsCut(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{})
	steps := make(chan [][]int32, 100)
	device.Stepped = func(items []native.StepItem) { steps <- fake.TokensOf(items) }
	e := newEngine(t, device)
	short, err := e.Submit(request("short", "ab", 20))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(<-steps).To(Equal([][]int32{{fake.BeginOfText, 'a', 'b'}}))
	long, err := e.Submit(request("long", strings.Repeat("x", 39), 2))
	g.Expect(err).NotTo(HaveOccurred())
	var shapes [][]int
	for range 5 {
		device.Permits <- struct{}{}
		shape := []int{}
		for _, tokens := range <-steps {
			shape = append(shape, len(tokens))
		}
		shapes = append(shapes, shape)
	}
	g.Expect(shapes).To(Equal([][]int{{1, 16}, {1, 16}, {1, 8}, {1, 1}, {1}}))
	close(device.Permits)
	g.Expect(text(t, wait(t, long))).To(Equal("ab"))
	g.Expect(text(t, wait(t, short))).To(Equal("abcdefghijklmnopqrst"))
}

func TestQueueIsBoundedAndInOrder(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{})
	e := newEngine(t, device, func(o *engine.Options) { o.MaxJobs, o.Queue = 1, 2 })
	var jobs []*engine.Job
	for i := range 3 {
		job, err := e.Submit(request(fmt.Sprint(i), fmt.Sprintf("|%d", i), 5))
		g.Expect(err).NotTo(HaveOccurred())
		jobs = append(jobs, job)
	}
	running, waiting := e.Counts()
	g.Expect([]int{running, waiting}).To(Equal([]int{1, 2}))
	_, err := e.Submit(request("3", "x", 5))
	g.Expect(codeOf(err)).To(Equal(problem.Overloaded))
	var p *problem.Problem
	g.Expect(errors.As(err, &p) && p.RetryAfter > 0).To(BeTrue())
	_, err = e.Submit(request("2", "x", 5))
	g.Expect(codeOf(err)).To(Equal(problem.Conflict))
	jobs[1].Cancel(problem.New(problem.Cancelled, "no longer wanted"))
	close(device.Permits)
	g.Expect(text(t, wait(t, jobs[0]))).To(Equal("0"))
	g.Expect(wait(t, jobs[1])).To(Equal([]engine.Event{engine.Failed{Code: problem.Cancelled, Message: "no longer wanted"}}))
	g.Expect(text(t, wait(t, jobs[2]))).To(Equal("2"))
}

func TestJobsThatBelongTogetherAreTakenTogether(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(3) // room for one of them at a time
	device.Permits = make(chan struct{})
	e := newEngine(t, device, func(o *engine.Options) { o.MaxJobs, o.Queue = 2, 2 })
	group := func(name string, n int) (requests []engine.Request) {
		for i := range n {
			requests = append(requests, request(fmt.Sprint(name, i), "x|ok", 60))
		}
		return requests
	}
	_, err := e.SubmitAll(group("many", 5))
	g.Expect(codeOf(err)).To(Equal(problem.InvalidRequest), "more than ever fit")
	jobs, err := e.SubmitAll(group("a", 4))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = e.SubmitAll(group("b", 1))
	g.Expect(codeOf(err)).To(Equal(problem.Overloaded))
	running, waiting := e.Counts()
	g.Expect([]int{running, waiting}).To(Equal([]int{1, 3}), "nothing of what was refused is left")
	close(device.Permits)
	for _, job := range jobs {
		g.Expect(text(t, wait(t, job))).To(Equal("ok"))
	}
}

func TestAJobWaitsForKVBlocks(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(3)
	device.Permits = make(chan struct{})
	e := newEngine(t, device)
	first, err := e.Submit(request("first", "x", 60))
	g.Expect(err).NotTo(HaveOccurred())
	second, err := e.Submit(request("second", "x", 60))
	g.Expect(err).NotTo(HaveOccurred())
	running, waiting := e.Counts()
	g.Expect([]int{running, waiting}).To(Equal([]int{1, 1}))
	close(device.Permits)
	wait(t, first)
	g.Expect(last[engine.End](t, wait(t, second)).TokensOut).To(Equal(60))
}

func TestCancelEndsARunningStep(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{}) // no step ever ends by itself
	inStep := make(chan struct{}, 10)
	device.Stepped = func([]native.StepItem) { inStep <- struct{}{} }
	e := newEngine(t, device)
	job, err := e.Submit(request("a", "x", 10))
	g.Expect(err).NotTo(HaveOccurred())
	<-inStep
	job.Cancel(problem.New(problem.Cancelled, "stop"))
	job.Cancel(problem.New(problem.Internal, "a second reason does not count"))
	g.Expect(last[engine.Failed](t, wait(t, job))).To(Equal(engine.Failed{Code: problem.Cancelled, Message: "stop"}))
	g.Expect(e.Status().Model.KVBlocksFree).To(Equal(100))
}

func TestInferenceTimeout(t *testing.T) {
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{})
	e := newEngine(t, device, func(o *engine.Options) { o.InferenceTimeout = time.Millisecond })
	failed := last[engine.Failed](t, submit(t, e, request("a", "x", 10)))
	NewWithT(t).Expect(failed.Code).To(Equal(problem.InferenceTimeout))
}

func TestAFailureOfOneJobLeavesTheOthers(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Fail = func(item *native.StepItem) error {
		if item.Tokens[len(item.Tokens)-1] == 'b' {
			return &native.Error{Status: native.StatusOutOfMemory, Message: "no KV block is free", Required: 10, Available: 5}
		}
		return nil
	}
	e := newEngine(t, device)
	bad, err := e.Submit(request("bad", "x", 10))
	g.Expect(err).NotTo(HaveOccurred())
	good, err := e.Submit(request("good", "x|acd", 10))
	g.Expect(err).NotTo(HaveOccurred())
	failed := last[engine.Failed](t, wait(t, bad))
	g.Expect(failed.Code).To(Equal(problem.VRAMOOM))
	g.Expect(failed.Message).To(Equal("OUT_OF_MEMORY: no KV block is free (required 10 bytes, available 5 bytes)"))
	g.Expect(text(t, wait(t, good))).To(Equal("acd"))
}

func TestAFailedStepFailsItsJobsAndTheNextWork(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	fails := 1
	device.FailStep = func() error {
		if fails--; fails == 0 {
			return &native.Error{Status: native.StatusKernelLaunchFailed, Message: "the device refused the kernel"}
		}
		return nil
	}
	e := newEngine(t, device)
	g.Expect(last[engine.Failed](t, submit(t, e, request("a", "x", 3))).Code).To(Equal(problem.CUDAError))
	g.Expect(text(t, submit(t, e, request("b", "x", 3)))).To(Equal("abc"))
}

func TestAPanicEndsTheJobsOfItsStepOnly(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	steps := 0
	device.Stepped = func([]native.StepItem) {
		if steps++; steps == 3 {
			panic("a defect")
		}
	}
	e := newEngine(t, device)
	events := submit(t, e, request("a", "x", 10))
	g.Expect(last[engine.Failed](t, events).Code).To(Equal(problem.Internal))
	g.Expect(text(t, events)).To(Equal("ab"))
	g.Expect(text(t, submit(t, e, request("b", "x", 3)))).To(Equal("abc"))
}

func TestSeedsLogprobsAndTheLogitsChain(t *testing.T) {
	g := NewWithT(t)
	e := newEngine(t, fake.NewDevice(100))
	r := request("a", "x", 2)
	seed := uint64(math.MaxUint64)
	r.Seed, r.Logprobs, r.LogitsHash = &seed, 2, true
	events := submit(t, e, r)
	g.Expect(events[0].(engine.Started).Seed).To(Equal(seed))
	token := events[1].(engine.Token)
	g.Expect(*token.Logprob).To(Equal(-0.5))
	g.Expect(token.Top).To(Equal([]engine.TopLogprob{{ID: 'a', Text: "a", Logprob: -0.5}, {ID: 'b', Text: "b", Logprob: -1.5}}))
	chain := make([]byte, 32)
	for _, logits := range [][2]float32{{'a', 2}, {'b', 3}} { // what the fake model gives: the token and the length
		for _, value := range logits {
			chain = binary.LittleEndian.AppendUint32(chain, math.Float32bits(value))
		}
		sum := sha256.Sum256(chain)
		chain = sum[:]
	}
	g.Expect(last[engine.End](t, events).LogitsSHA256).To(Equal(hex.EncodeToString(chain)))

	started := submit(t, e, request("b", "x", 1))[0].(engine.Started)
	other := submit(t, e, request("c", "x", 1))[0].(engine.Started)
	g.Expect(started.Seed).NotTo(Equal(other.Seed), "random seeds")
	g.Expect(*started.Effective.Seed).To(Equal(started.Seed))
}

func TestEndedJobsAreKeptForAWhile(t *testing.T) {
	g := NewWithT(t)
	now := time.Now()
	e := newEngine(t, fake.NewDevice(100), func(o *engine.Options) {
		o.KeepEnded, o.KeepFor, o.Now = 2, time.Minute, func() time.Time { return now }
	})
	kept := func() string {
		ids := ""
		for _, id := range []string{"a", "b", "c", "d"} {
			if _, found := e.Job(id); found {
				ids += id
			}
		}
		return ids
	}
	for _, id := range []string{"a", "b", "c", "b"} {
		submit(t, e, request(id, "x", 1))
	}
	g.Expect(kept()).To(Equal("bc"))
	now = now.Add(time.Minute + 1)
	g.Expect(kept()).To(Equal(""))
	submit(t, e, request("d", "x", 1))
	g.Expect(kept()).To(Equal("d"))
}

func TestDrainLetsJobsEndAndCancelsThemAtTheDeadline(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{})
	e := newEngine(t, device)
	job, err := e.Submit(request("a", "x|hello", 10))
	g.Expect(err).NotTo(HaveOccurred())
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_ = e.Drain(context.Background()) // the jobs' ends are checked below
	}()
	g.Eventually(func() problem.Code {
		_, err := e.Submit(request("b", "x", 10))
		return codeOf(err)
	}).Should(Equal(problem.ShuttingDown))
	close(device.Permits)
	<-drained
	g.Expect(text(t, wait(t, job))).To(Equal("hello"))
}

func TestDrainCancelsAtItsDeadline(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{})
	e := newEngine(t, device)
	job, err := e.Submit(request("a", "x", 10))
	g.Expect(err).NotTo(HaveOccurred())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g.Expect(e.Drain(ctx)).To(Succeed())
	g.Expect(last[engine.Failed](t, wait(t, job)).Code).To(Equal(problem.ShuttingDown))
}

func TestAHungDeviceIsTold(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	inStep, release := make(chan struct{}), make(chan struct{})
	device.Stepped = func([]native.StepItem) {
		inStep <- struct{}{}
		<-release
	}
	e := newEngine(t, device, func(o *engine.Options) { o.StepTimeout, o.CancelGrace = time.Millisecond, time.Millisecond })
	_, hung := e.Hung()
	g.Expect(hung).To(BeFalse(), "nothing runs")
	running, err := e.Submit(request("a", "x", 10))
	g.Expect(err).NotTo(HaveOccurred())
	<-inStep
	waiting, err := e.Submit(request("b", "x", 10))
	g.Expect(err).NotTo(HaveOccurred())
	g.Eventually(func() bool { _, hung := e.Hung(); return hung }).Should(BeTrue())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	g.Expect(e.Drain(ctx)).To(MatchError(engine.ErrHung))
	for _, job := range []*engine.Job{running, waiting} {
		g.Expect(last[engine.Failed](t, wait(t, job)).Code).To(Equal(problem.ShuttingDown))
	}
	g.Expect(e.Close()).To(MatchError(engine.ErrHung))
	close(release)
	g.Eventually(device.OpenSessions).Should(BeZero(), "a device that comes back after all leaves nothing behind")
}

func TestResidencyIsCheckedPeriodically(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	e := newEngine(t, device, func(o *engine.Options) { o.ResidencyInterval = time.Millisecond })
	g.Expect(e.Status().Residency.Resident).To(BeTrue())
	device.SetResidency(&native.Error{Status: native.StatusResidencyFailed, Message: "1 block is elsewhere"})
	g.Eventually(func() string { return e.Status().Residency.Problem }).Should(ContainSubstring(`"blk.0.attn_q.weight"`))
	g.Expect(e.Status().Residency.Resident).To(BeFalse())
	device.SetResidency(nil)
	g.Eventually(func() bool { return e.Status().Residency.Resident }).Should(BeTrue())
}
