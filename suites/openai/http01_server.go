package openai

import (
	"context"
	"net/http"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// HTTP-01 Server operational.
func registerServer(subject func() *target.Target) {
	Describe("server operational", requirement.ID("HTTP-01"), func() {
		DescribeTable("answers what it does not know with a JSON error",
			func(ctx SpecContext, call target.Call, statuses []int) {
				response, err := httpClient(subject).Do(ctx, call)
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("refusal", response.Exchange())
				Expect(response).To(matchers.HaveOpenAIError(statuses...))
			},
			Entry("unknown path", SpecTimeout(specTimeout), target.Get("/v1/no/such/path"), []int{http.StatusNotFound}),
			Entry("wrong method", SpecTimeout(specTimeout), target.Get(completions), []int{http.StatusNotFound, http.StatusMethodNotAllowed}),
		)

		It("answers 64 concurrent calls", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			const calls = 64
			statuses := make([]int, calls)
			failures := make([]error, calls)
			var group sync.WaitGroup
			for i := range calls {
				group.Go(func() {
					response, err := client.Do(ctx, apart(target.Get("/v1/models")))
					if failures[i] = err; err == nil {
						statuses[i] = response.Status
					}
				})
			}
			group.Wait()
			for i := range calls {
				Expect(failures[i]).NotTo(HaveOccurred(), "call %d", i)
				Expect(statuses[i]).To(Equal(http.StatusOK), "call %d", i)
			}
			evidence.Observe("concurrent calls of GET /v1/models answered", calls, "")
		})

		It("drains a stream on SIGTERM and exits 0", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			fields, _ := longest(ctx, subject())
			worker, err := subject().Start(ctx, target.Launch{})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := target.NewClient(worker.URL)
			DeferCleanup(client.Close)
			stream, err := client.Open(ctx, target.Post(completions, fields.Streamed()))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stream.Close)
			_, err = stream.Next()
			Expect(err).NotTo(HaveOccurred())

			start := time.Now()
			worker.Terminate()
			drained := stream.Drain()
			evidence.Transcript("stream under SIGTERM", stream.Exchange())
			Expect(drained).To(Succeed())
			Expect(stream).To(matchers.BeWellFormedCompletion())
			stopping, cancel := context.WithTimeout(ctx, drainTimeout-time.Since(start))
			defer cancel()
			Expect(worker.Stop(stopping)).To(Succeed())
			evidence.Observe("exit after SIGTERM", time.Since(start).Milliseconds(), "ms")
		})
	})
}
