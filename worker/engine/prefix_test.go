package engine_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/worker/engine"
	"touchstone/worker/internal/fake"
)

func TestAPromptTakesOverWhatAnotherHasComputed(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	var evaluated int
	device.Stepped = func(items []native.StepItem) {
		for _, item := range items {
			evaluated += len(item.Tokens)
		}
	}
	e := newEngine(t, device)
	prompt := strings.Repeat("p", 99) + "|answer" // 107 tokens with the first one: 3 blocks and 11
	ask := func(id, prompt string) (string, int) {
		evaluated = 0
		events := submit(t, e, request(id, prompt, 20))
		return text(t, events), evaluated
	}
	whole, first := ask("a", prompt)
	again, second := ask("b", prompt)
	g.Expect(whole).To(Equal("answer"))
	g.Expect(again).To(Equal(whole))
	g.Expect([]int{first, second}).To(Equal([]int{107 + 6, 107 - 96 + 6}), "tokens evaluated: prompt, then each chosen one but the last")
	g.Expect(device.OpenSessions()).To(Equal(1), "one session has all blocks of both")

	// A conversation goes on: what was generated is there as well.
	continued, third := ask("c", prompt+"answer"+strings.Repeat("q", 40)+"|")
	g.Expect(continued).To(Equal("answer" + "answer" + strings.Repeat("q", 20-12)))
	g.Expect(third).To(BeNumerically("<", 107-96+6+42+20))
	_, other := ask("d", "P"+prompt)
	g.Expect(other).To(BeNumerically(">", 107), "another beginning")
	g.Expect(device.Forked()).To(Equal([]int{96, 96}))
	g.Expect(e.Status().VRAMBytesUsed()).To(BeEquivalentTo(fake.WeightsBytes), "no job uses what is kept")
}

func TestEqualPromptsTogetherAreComputedOnce(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	e := newEngine(t, device)
	prompt := strings.Repeat("p", 150) + "|answer"
	var requests []engine.Request
	for i := range 4 {
		requests = append(requests, request(fmt.Sprint(i), prompt, 20))
	}
	jobs, err := e.SubmitAll(requests)
	g.Expect(err).NotTo(HaveOccurred())
	for _, job := range jobs {
		g.Expect(text(t, wait(t, job))).To(Equal("answer"))
	}
	g.Expect(device.Forked()).To(Equal([]int{128, 128, 128}))
}

func TestKeptBlocksAreGivenUpForJobs(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(8)
	e := newEngine(t, device)
	for i := range 20 {
		prompt := strings.Repeat(string(rune('a'+i)), 100) + "|answer"
		g.Expect(text(t, submit(t, e, request(fmt.Sprint(i), prompt, 100)))).To(Equal("answer"))
	}
	g.Expect(device.OpenSessions()).To(BeNumerically("<=", 2))
	status := e.Status()
	g.Expect(status.Cached).To(Equal(status.Model.KVBlocksTotal - status.Model.KVBlocksFree))
	g.Expect(device.Forked()).To(BeEmpty())
	// The one used last is there yet.
	g.Expect(text(t, submit(t, e, request("again", strings.Repeat("t", 100)+"|answer", 100)))).To(Equal("answer"))
	g.Expect(device.Forked()).To(Equal([]int{96}))
}

// A prompt that is being computed lets others pass: the shortest first, but never without going on itself.
func TestShortPromptsDoNotWaitForLongOnes(t *testing.T) {
	g := NewWithT(t)
	device := fake.NewDevice(100)
	device.Permits = make(chan struct{})
	steps := make(chan []int, 100)
	var ticks atomic.Int64
	device.Stepped = func(items []native.StepItem) {
		ticks.Add(int64(10 * time.Millisecond)) // every step takes as long as it should
		var shape []int
		for _, tokens := range fake.TokensOf(items) {
			shape = append(shape, len(tokens))
		}
		steps <- shape
	}
	e := newEngine(t, device, func(o *engine.Options) {
		o.StepTarget, o.PrefillChunk = 10*time.Millisecond, 20
		o.Now = func() time.Time { return time.Unix(0, ticks.Load()) }
	})
	_, err := e.Submit(request("long", strings.Repeat("x", 200), 2))
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(<-steps).To(Equal([]int{20}))
	var requests []engine.Request
	for i := range 3 {
		requests = append(requests, request(fmt.Sprint(i), strings.Repeat("y", 9-i), 1))
	}
	_, err = e.SubmitAll(requests)
	g.Expect(err).NotTo(HaveOccurred())
	device.Permits <- struct{}{}
	g.Expect(<-steps).To(Equal([]int{5, 7, 8}), "a quarter for the oldest, then the shortest")
	device.Permits <- struct{}{}
	g.Expect(<-steps).To(Equal([]int{8, 10, 2}), "one is done; what the others leave is the oldest's")
	close(device.Permits)
}
