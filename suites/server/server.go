// Package server holds the specs of a worker as a process and a server, in any wire format: how it starts and ends, what it
// refuses to start with, and that it answers while it works.
package server

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// Every timeout of this package, named.
const (
	specTimeout = 60 * time.Second
	// drainTimeout is the time a worker has between SIGTERM and its end.
	drainTimeout = 5 * time.Second
	// maxHealthP99 is the 99th percentile that a health call may take while a job decodes.
	maxHealthP99 = 10 * time.Millisecond
)

// Register adds the specs, asked over the named interface, to the container that calls it.
func Register(subject func() *target.Target, over string) {
	registerStart(subject)
	registerBadStart(subject)
	registerDrain(subject, over)
	registerCompany(subject, over)
}

func registerDrain(subject func() *target.Target, over string) {
	Describe("SIGTERM", requirement.Claim("server.drains"), func() {
		It("drains a stream, and the worker exits 0", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			door := subject().API(over)
			request := subject().LongRequest(ctx, door)
			worker, client := start(ctx, subject())
			stream, err := door.Open(ctx, client, request, nil)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stream.Close)
			Expect(stream.AwaitText()).To(Succeed())

			started := time.Now()
			worker.Terminate()
			drained := stream.Drain()
			evidence.Transcript("stream under SIGTERM", stream.Exchange())
			Expect(drained).To(Succeed())
			Expect(stream.Problem()).To(BeEmpty())
			stopping, cancel := context.WithTimeout(ctx, drainTimeout-time.Since(started))
			defer cancel()
			Expect(worker.Stop(stopping)).To(Succeed())
			evidence.Observe("exit after SIGTERM", time.Since(started).Milliseconds(), "ms")
		})
	})
}

func registerCompany(subject func() *target.Target, over string) {
	Describe("many calls", requirement.Claim("server.concurrent"), func() {
		It("are answered, 64 at once", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			call := subject().API(over).Health().With("Connection", "close") // each over a connection of its own
			const calls = 64
			statuses := make([]int, calls)
			failures := make([]error, calls)
			var group sync.WaitGroup
			for i := range calls {
				group.Go(func() {
					response, err := subject().Client().Do(ctx, call)
					if failures[i] = err; err == nil {
						var answer map[string]any
						statuses[i], failures[i] = response.Status, response.JSON(&answer)
					}
				})
			}
			group.Wait()
			for i := range calls {
				Expect(failures[i]).NotTo(HaveOccurred(), "call %d", i)
				Expect(statuses[i]).To(Equal(http.StatusOK), "call %d", i)
			}
			evidence.Observe("concurrent calls answered", map[string]any{"path": call.Path, "calls": calls}, "")
		})
	})

	// A blocked health call is slow in every window; a busy machine is not. So the best of a few windows counts.
	Describe("health while a job decodes", requirement.Claim("health.responsive"), func() {
		It("answers within 10 ms at the 99th percentile", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			if over != api.Touchstone {
				subject().Require(target.HealthEndpoint)
			}
			client, door := subject().Client(), subject().API(over)
			const windows, calls, enough = 20, 100, 64
			stop, pieces := keepBusy(ctx, client, door, subject().LongRequest(ctx, door))
			defer stop()
			var p99s []float64
			best := time.Hour
			for window := 0; window < windows && (best > maxHealthP99 || pieces.Load() < enough); window++ {
				times := make([]time.Duration, calls)
				for i := range times {
					response, err := client.Do(ctx, wire.Get("/health"))
					Expect(err).NotTo(HaveOccurred())
					Expect(response.Status).To(Equal(http.StatusOK))
					times[i] = response.Elapsed
				}
				slices.Sort(times)
				p99 := times[calls*99/100-1]
				p99s = append(p99s, wire.Milliseconds(p99))
				best = min(best, p99)
			}
			stop()
			evidence.Observe("p99 of health while decoding, by window", p99s, "ms")
			evidence.Observe("pieces of text received meanwhile", pieces.Load(), "")
			Expect(pieces.Load()).To(BeNumerically(">=", enough), "hardly a token was decoded meanwhile: the check saw an idle worker")
			Expect(best).To(BeNumerically("<=", maxHealthP99), fmt.Sprintf("the best 99th percentile of %d windows", len(p99s)))
		})
	})
}

// keepBusy runs a request over and over until stop is called, and counts the pieces of text that came. It returns when the
// first has come, or when the first stream has ended without one.
func keepBusy(ctx context.Context, client *wire.Client, door api.API, request api.Request) (stop func(), pieces *atomic.Int64) {
	ctx, cancel := context.WithCancel(ctx)
	pieces = new(atomic.Int64)
	started := make(chan struct{})
	begin := sync.OnceFunc(func() { close(started) })
	var group sync.WaitGroup
	group.Go(func() {
		defer begin() // also if no request could be sent: whoever waits shall see that
		for ctx.Err() == nil {
			stream, err := door.Open(ctx, client, request, nil)
			if err != nil {
				return
			}
			for stream.AwaitText() == nil {
				pieces.Add(1)
				begin()
			}
			stream.Close()
			begin()
		}
	})
	<-started
	return func() {
		cancel()
		group.Wait()
	}, pieces
}
