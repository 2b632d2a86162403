package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// HTTP-04 SSE streaming format.
func registerSSE(subject func() *target.Target) {
	Describe("SSE streaming format", requirement.ID("HTTP-04"), func() {
		It("keeps the grammar and the order of events", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			for _, maxTokens := range []int{1, 2, 40} {
				stream, err := client.Execute(ctx, subject().LongJob(ctx).With("max_tokens", maxTokens))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("stream", stream.Exchange())
				Expect(stream).To(matchers.BeWellFormedSSE())
			}
		})

		It("sends whole characters even when they span tokens", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			multibyte, streams := 0, 0
			for seed := 1; seed <= 40 && multibyte < 3; seed++ {
				fields := target.Generate("東京の雨 ☕", 64).With("temperature", 2.0).With("seed", seed)
				stream, generation := execute(ctx, client, fields)
				streams++
				Expect(stream).To(matchers.BeWellFormedSSE())
				for i, token := range generation.Tokens {
					Expect(utf8.ValidString(*token.T)).To(BeTrue(), "token %d of seed %d: %q", i, seed, *token.T)
				}
				if strings.IndexFunc(generation.Text(), func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
					multibyte++
					evidence.Transcript("stream with characters of several bytes", stream.Exchange())
				}
			}
			evidence.Observe("streams read", streams, "")
			Expect(multibyte).To(BeNumerically(">", 0), "no stream held a character of several bytes: nothing was shown")
		})

		It("sends events one by one", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			stream, err := client.Open(ctx, target.Post("/execute", subject().LongJob(ctx)))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stream.Close)
			_, err = stream.Await("token")
			Expect(err).NotTo(HaveOccurred())
			Expect(stream.Drain()).To(Succeed())
			events := stream.Events()
			moments, gaps := stream.Arrivals()
			evidence.Transcript("stream", stream.Exchange())
			evidence.Observe("inter-arrival times", gaps, "ms")
			evidence.Observe("separate arrivals", moments, "")
			Expect(len(events)).To(BeNumerically(">", 8), "too few events to tell")
			// On a busy machine a client may wake up to several events at once, but not to a sixteenth of the stream.
			Expect(moments).To(BeNumerically(">", len(events)/16), "%d events came in %d pieces: they are held back", len(events), moments)
			Expect(events[1].At).To(BeNumerically("<", events[len(events)-1].At/2+time.Millisecond),
				"the first token came only when most of the stream was over")
		})

		It("resumes after Last-Event-ID", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := subject().LongJob(ctx).With("max_tokens", 12)
			whole, _ := execute(ctx, client, fields)
			events := whole.Events()
			Expect(len(events)).To(BeNumerically(">", 3))
			path := "/jobs/" + fields.JobID() + "/events"
			for _, last := range []int{-1, 0, len(events) / 2, len(events) - 2} {
				call := target.Get(path)
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

		It("breaks a long silence with comments", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, err := subject().Start(ctx, subject().WithFlags("--keep-alive", "1ms"))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := target.NewClient(worker.URL)
			DeferCleanup(client.Close)
			prompt := strings.Repeat("rain and wind ", *health(ctx, client).ContextLength/8) // its prefill is the silence
			stream, err := client.Execute(ctx, target.Generate(prompt, 2))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("stream with comments", stream.Exchange())
			evidence.Observe("comments", len(stream.Parsed().Comments), "")
			Expect(stream).To(matchers.BeWellFormedSSE())
			Expect(stream.Parsed().Comments).NotTo(BeEmpty(), "no comment came in %d ms of silence", stream.Events()[1].At.Milliseconds())
		})

		It("refuses a Last-Event-ID that is no event", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := target.Generate(rain, 2)
			execute(ctx, client, fields)
			response, err := client.Do(ctx, target.Get("/jobs/"+fields.JobID()+"/events").With("Last-Event-ID", "yesterday"))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"))
		})

		It("tells caches and proxies to keep their hands off", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			stream, err := client.Execute(ctx, target.Generate(rain, 1))
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

func withoutTimes(events []target.Event) []target.Event {
	out := make([]target.Event, len(events))
	for i, event := range events {
		event.At = 0
		out[i] = event
	}
	return out
}
