package generation

import (
	"slices"
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
			request := subject().LongRequest(ctx, over)
			const streams = 5
			var sizes []int
			texts, early := 0, false
			for i := range streams {
				stream, _ := streamed(ctx, over, client, request)
				_, gaps := stream.Arrivals()
				if i == 0 {
					evidence.Transcript("stream", stream.Exchange())
					evidence.Observe("inter-arrival times", gaps, "ms")
				}
				at, events := stream.TextArrivals(), stream.Events()
				Expect(len(at)).To(BeNumerically(">", 8), "too few texts to tell")
				together := atOnce(at)
				texts += len(at)
				sizes = append(sizes, together[:len(together)-1]...) // the last are those that were left
				early = early || stream.FirstText() < events[len(events)-1].At/2+time.Millisecond
			}
			slices.Sort(sizes)
			evidence.Observe("texts that arrived at once", sizes, "")
			Expect(early).To(BeTrue(), "the texts are held back: in each stream the first came only when most of it was over")
			// A busy machine wakes a client late, to several texts at once: then to this many, then to that. A worker that gathers
			// texts never sends few, however often it is looked at. Measured with four busy loops on two cores, half of all arrivals
			// brought one text or two.
			Expect(len(sizes)).To(BeNumerically(">", texts/16), "%d texts came in %d pieces: they are held back", texts, len(sizes))
			Expect(sizes[len(sizes)/4]).To(BeNumerically("<=", 2),
				"the texts come in bursts: of %d arrivals, three in four brought more than two at once: %v", len(sizes), sizes)
		})
	})
}

// atOnce counts the texts that arrived at each moment.
func atOnce(at []time.Duration) []int {
	var sizes []int
	for i, moment := range at {
		if i == 0 || moment != at[i-1] {
			sizes = append(sizes, 0)
		}
		sizes[len(sizes)-1]++
	}
	return sizes
}
