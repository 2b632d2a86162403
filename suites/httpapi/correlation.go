package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"unicode"

	"github.com/google/uuid"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/process"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// Correlation id.
func registerCorrelation(subject func() *target.Target) {
	Describe("correlation id", requirement.Claim("correlation.echo"), func() {
		It("comes back in the header, the started event and the error body", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			id := uuid.NewString()
			stream, generation := execute(ctx, client, api.Generate(rain, 2), api.CorrelationHeader, id)
			evidence.Transcript("generation", stream.Exchange())
			Expect(stream.Header.Get(api.CorrelationHeader)).To(Equal(id))
			Expect(generation.Started.CorrelationID).To(Equal(id))

			response, err := client.Do(ctx, wire.Post("/execute", api.Fields{}).With(api.CorrelationHeader, id))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			var failure api.Failure
			Expect(response.JSON(&failure)).To(Succeed())
			Expect(response.Header.Get(api.CorrelationHeader)).To(Equal(id))
			Expect(failure.CorrelationID).To(Equal(id))
		})
	})

	Describe("fresh correlation id", requirement.Claim("correlation.fresh"), func() {
		It("is a fresh UUID where none was given", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			seen := map[string]bool{}
			const requests = 8
			for range requests {
				stream, generation := execute(ctx, client, api.Generate(rain, 1))
				id := stream.Header.Get(api.CorrelationHeader)
				_, err := uuid.Parse(id)
				Expect(err).NotTo(HaveOccurred(), "the id %q is no UUID", id)
				Expect(generation.Started.CorrelationID).To(Equal(id))
				Expect(seen).NotTo(HaveKey(id), "an id was given twice")
				seen[id] = true
			}
			evidence.Observe("fresh ids", len(seen), "")
		})
	})

	Describe("correlation ids in company", requirement.Claim("correlation.concurrent"), func() {
		It("never mixes among 64 concurrent requests", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			const requests = 64
			problems := make([]string, requests)
			var group sync.WaitGroup
			for i := range requests {
				group.Go(func() {
					problems[i] = correlationProblem(ctx, client, fmt.Sprintf("gate-correlation-%d-%s", i, uuid.NewString()))
				})
			}
			group.Wait()
			for i, problem := range problems {
				Expect(problem).To(BeEmpty(), "request %d", i)
			}
			evidence.Observe("concurrent requests with their own id", requests, "")
		})
	})

	Describe("hostile correlation id", requirement.Claim("correlation.hostile"), func() {
		DescribeTable("refuses or cleans a hostile id",
			func(ctx SpecContext, hostile string) {
				client := httpClient(subject)
				response, err := client.Do(ctx, wire.Post("/execute", api.Generate(rain, 1)).With(api.CorrelationHeader, hostile))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("hostile id", response.Exchange())
				Expect(response.Status).To(Or(Equal(http.StatusOK), Equal(http.StatusBadRequest)))
				echoed := response.Header.Get(api.CorrelationHeader)
				Expect(echoed).NotTo(BeEmpty(), "a request always has an id")
				Expect(len(echoed)).To(BeNumerically("<=", 256), "the id that came back is long")
				for _, r := range echoed {
					Expect(unicode.IsPrint(r) && r < unicode.MaxASCII).To(BeTrue(), "the id that came back holds %q", r)
				}
				Expect(string(response.Body)).NotTo(ContainSubstring(strings.TrimSpace(hostile)))
			},
			Entry("4 KB", SpecTimeout(specTimeout), strings.Repeat("x", 4096)),
			Entry("a tab inside", SpecTimeout(specTimeout), "before\tafter"),
			Entry("bytes beyond ASCII", SpecTimeout(specTimeout), "caf\u00e9-\u2028-id"),
			Entry("markup", SpecTimeout(specTimeout), `"><script>alert(1)</script>`),
		)

		It("cannot smuggle a header with CR LF", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			answer, err := wire.Raw(ctx, client.Base(), "GET /health HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n"+
				api.CorrelationHeader+": before\rX-Smuggled: yes\r\n\r\n")
			Expect(err).NotTo(HaveOccurred())
			evidence.Attach("answer", "text/plain", []byte(answer))
			Expect(answer).To(HavePrefix("HTTP/1.1 "), "the worker did not answer")
			Expect(strings.ToLower(answer)).NotTo(ContainSubstring("\nx-smuggled"))
			Expect(strings.ToLower(answer)).NotTo(ContainSubstring("\rx-smuggled"))
		})
	})

	Describe("correlation id in the log", requirement.Claim("correlation.log"), func() {
		It("stands in the log of its request", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart, target.Logs)
			worker, err := subject().Start(ctx, process.Launch{})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := subject().ClientOf(worker)
			DeferCleanup(client.Close)
			id := uuid.NewString()
			execute(ctx, client, api.Generate(rain, 2), api.CorrelationHeader, id)
			Eventually(ctx, worker.Log).WithTimeout(logDelay).Should(ContainSubstring(id))
			Expect(worker.Log()).NotTo(ContainSubstring(rain), "a log holds no prompts")
			evidence.Attach("log", "text/plain", []byte(worker.Log()))
		})
	})
}

// correlationProblem says what is wrong with the ids of one request, or "".
func correlationProblem(ctx SpecContext, client *wire.Client, id string) string {
	stream, err := api.Execute(ctx, client, api.Generate(rain, 3), api.CorrelationHeader, id)
	if err != nil {
		return err.Error()
	}
	if stream.Status == http.StatusServiceUnavailable { // a full queue is an answer too, under its own id
		if got := stream.Header.Get(api.CorrelationHeader); got != id {
			return fmt.Sprintf("sent %s, the 503 has %s", id, got)
		}
		return ""
	}
	generation, err := api.ReadGeneration(stream)
	if err != nil {
		return err.Error()
	}
	if generation.Started == nil {
		return "the stream has no started event"
	}
	if header := stream.Header.Get(api.CorrelationHeader); header != id || generation.Started.CorrelationID != id {
		return fmt.Sprintf("sent %s, the header has %s, the started event %s", id, header, generation.Started.CorrelationID)
	}
	return ""
}
