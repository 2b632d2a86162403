package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// SSE streaming format.
func registerSSE(subject func() *target.Target) {
	Describe("resumption", requirement.Claim("stream.resumable"), func() {
		It("resumes after Last-Event-ID", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := subject().LongJob(ctx).With("max_tokens", 12)
			whole, _ := execute(ctx, client, fields)
			events := whole.Events()
			Expect(len(events)).To(BeNumerically(">", 3))
			path := "/jobs/" + fields.JobID() + "/events"
			for _, last := range []int{-1, 0, len(events) / 2, len(events) - 2} {
				call := wire.Get(path)
				if last >= 0 {
					call = call.With("Last-Event-ID", strconv.Itoa(last))
				}
				again, err := client.Open(ctx, call)
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(again.Close)
				Expect(again.IsEventStream()).To(BeTrue(), "%d %s", again.Status, again.Header.Get("Content-Type"))
				Expect(again.Drain()).To(Succeed())
				Expect(again.Parsed().Problems).To(BeEmpty())
				Expect(withoutTimes(again.Events())).To(Equal(withoutTimes(events[last+1:])), "after Last-Event-ID %d", last)
				evidence.Transcript("resumed after "+strconv.Itoa(last), again.Exchange())
			}
		})

		It("refuses a Last-Event-ID that is no event", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := api.Generate(rain, 2)
			execute(ctx, client, fields)
			response, err := client.Do(ctx, wire.Get("/jobs/"+fields.JobID()+"/events").With("Last-Event-ID", "yesterday"))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"))
		})
	})

	Describe("silence", requirement.Claim("stream.keep-alive"), func() {
		It("breaks a long silence with comments", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, err := subject().Start(ctx, subject().With(map[string]string{"keep-alive": "1ms"}))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := subject().ClientOf(worker)
			DeferCleanup(client.Close)
			prompt := strings.Repeat("rain and wind ", *health(ctx, client).ContextLength/8) // its prefill is the silence
			stream, err := api.Execute(ctx, client, api.Generate(prompt, 2))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("stream with comments", stream.Exchange())
			evidence.Observe("comments", len(stream.Parsed().Comments), "")
			Expect(stream).To(matchers.BeWellFormedSSE())
			Expect(stream.Parsed().Comments).NotTo(BeEmpty(), "no comment came in %d ms of silence", stream.Events()[1].At.Milliseconds())
		})
	})

	Describe("headers of a stream", requirement.Claim("stream.headers"), func() {
		It("tells caches and proxies to keep their hands off", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			stream, err := api.Execute(ctx, client, api.Generate(rain, 1))
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("headers", stream.Header, "")
			Expect(stream.IsEventStream()).To(BeTrue())
			Expect(stream.Header.Get("Cache-Control")).To(Or(ContainSubstring("no-cache"), ContainSubstring("no-store")))
			Expect(stream.Header).NotTo(HaveKey("Content-Length"))
			for _, event := range stream.Events() {
				Expect(json.Valid([]byte(event.Data))).To(BeTrue(), event.Data)
			}
		})
	})
}

func withoutTimes(events []wire.Event) []wire.Event {
	out := make([]wire.Event, len(events))
	for i, event := range events {
		event.At = 0
		out[i] = event
	}
	return out
}
