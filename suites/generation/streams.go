package generation

import (
	"strings"
	"time"
	"unicode/utf8"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/target"
)

func registerStreams(subject func() *target.Target, door doorway) {
	Describe("stream", requirement.Claim("stream.order"), func() {
		It("keeps the grammar and the order, and says what the whole answer says", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			for _, maxTokens := range []int{1, 2, 40} {
				request := subject().LongRequest(ctx, over)
				request.MaxTokens = maxTokens
				stream, err := over.Open(ctx, client, request, nil)
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(stream.Close)
				Expect(stream.Drain()).To(Succeed())
				evidence.Transcript("stream", stream.Exchange())
				Expect(stream.Problem()).To(BeEmpty())
				answer, err := stream.Answer()
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.Text()).To(Equal(whole(ctx, over, client, request).Text()), "the pieces together, and the whole answer")
			}
		})
	})

	Describe("characters", requirement.Claim("stream.whole-characters"), func() {
		It("come whole even when they span tokens", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			multibyte, streams := 0, 0
			for seed := uint64(1); seed <= 40 && multibyte < 3; seed++ {
				stream, answer := streamed(ctx, over, client, api.Greedy("東京の雨 ☕", 64).Sampled(2, seed))
				streams++
				for i, piece := range answer.Pieces {
					Expect(utf8.ValidString(piece)).To(BeTrue(), "piece %d of seed %d: %q", i, seed, piece)
				}
				if strings.IndexFunc(answer.Text(), func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
					multibyte++
					evidence.Transcript("stream with characters of several bytes", stream.Exchange())
				}
			}
			evidence.Observe("streams read", streams, "")
			Expect(multibyte).To(BeNumerically(">", 0), "no stream held a character of several bytes: nothing was shown")
		})
	})

	Describe("arrival", requirement.Claim("stream.incremental"), func() {
		It("is piece by piece", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			stream, _ := streamed(ctx, over, client, subject().LongRequest(ctx, over))
			events := stream.Events()
			moments, gaps := stream.Arrivals()
			evidence.Transcript("stream", stream.Exchange())
			evidence.Observe("inter-arrival times", gaps, "ms")
			evidence.Observe("separate arrivals", moments, "")
			Expect(len(events)).To(BeNumerically(">", 8), "too few events to tell")
			// On a busy machine a client may wake up to several events at once, but not to a sixteenth of the stream.
			Expect(moments).To(BeNumerically(">", len(events)/16+1), "%d events came in %d pieces: they are held back", len(events), moments)
			Expect(stream.FirstText()).To(BeNumerically("<", events[len(events)-1].At/2+time.Millisecond),
				"the first text came only when most of the stream was over")
		})
	})
}
