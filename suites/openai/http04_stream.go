package openai

import (
	"strings"
	"unicode/utf8"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// HTTP-04 SSE streaming format.
func registerStream(subject func() *target.Target) {
	notOffered("HTTP-04", "resumes after Last-Event-ID", "gives events no id, so that no stream can be resumed")
	Describe("SSE streaming format", requirement.ID("HTTP-04"), func() {
		It("keeps the grammar and the order of chunks", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			for _, maxTokens := range []int{1, 2, 24} {
				fields := subject().Completion(rain, maxTokens)
				stream, err := client.Open(ctx, target.Post(completions, fields.Streamed()))
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(stream.Close)
				Expect(stream.Drain()).To(Succeed())
				evidence.Transcript("stream", stream.Exchange())
				Expect(stream).To(matchers.BeWellFormedCompletion())
				completion, err := stream.Completion()
				Expect(err).NotTo(HaveOccurred())
				Expect(completion.Text()).To(Equal(whole(ctx, client, fields).Text()), "the chunks together say what the whole answer says")
			}
		})

		It("sends whole characters even when they span tokens", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			multibyte, streams := 0, 0
			for seed := 1; seed <= 40 && multibyte < 3; seed++ {
				stream, completion := streamed(ctx, client, subject().Completion("東京の雨 ☕", 48).With("temperature", 2.0).With("seed", seed))
				streams++
				for i, piece := range completion.Pieces {
					Expect(utf8.ValidString(piece)).To(BeTrue(), "chunk %d of seed %d: %q", i, seed, piece)
				}
				if strings.IndexFunc(completion.Text(), func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
					multibyte++
					evidence.Transcript("stream with characters of several bytes", stream.Exchange())
				}
			}
			evidence.Observe("streams read", streams, "")
			Expect(multibyte).To(BeNumerically(">", 0), "no stream held a character of several bytes: nothing was shown")
		})

		It("sends chunks one by one", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields, _ := longest(ctx, subject())
			stream, _ := streamed(ctx, client, fields)
			events := stream.Events()
			moments, gaps := stream.Arrivals()
			evidence.Transcript("stream", stream.Exchange())
			evidence.Observe("inter-arrival times", gaps, "ms")
			evidence.Observe("separate arrivals", moments, "")
			Expect(len(events)).To(BeNumerically(">", 8), "too few events to tell")
			// On a busy machine a client may wake up to several events at once, but not to a sixteenth of the stream.
			Expect(moments).To(BeNumerically(">", len(events)/16+1), "%d events came in %d pieces: they are held back", len(events), moments)
			Expect(events[0].At).To(BeNumerically("<", events[len(events)-1].At), "all came at the end")
		})
	})
}
