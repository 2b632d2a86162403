package openai

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/performance"
	"touchstone/suites/target"
)

// PERF-01 Performance recorded. The figures are the client's own: the API tells none but the number of tokens.
func registerPerformance(subject func() *target.Target) {
	notOffered("PERF-01", "measures prefill and memory", "tells neither")
	Describe("performance recorded", requirement.ID("PERF-01"), func() {
		It("measures the first token, decode and throughput, and finds them consistent", SpecTimeout(2*specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields, _ := longest(ctx, subject())
			const runs = 6
			var first, decode, throughput []float64
			for range runs {
				stream, completion := streamed(ctx, client, fields)
				tokens := *completion.Usage.CompletionTokens
				evidence.Observe("tokens by usage, and chunks with text", []int{tokens, len(completion.Pieces)}, "")
				Expect(tokens).To(And(BeNumerically(">=", len(completion.Pieces)), BeNumerically("<=", fields["max_tokens"])),
					"tokens by usage, between the chunks with text and max_tokens")
				events := stream.Events()
				took := events[len(events)-1].At - events[0].At
				first = append(first, milliseconds(events[0].At))
				if tokens > 1 && took > 0 {
					decode = append(decode, milliseconds(took)/float64(tokens-1))
					throughput = append(throughput, float64(tokens-1)/took.Seconds())
				}
			}
			Expect(throughput).NotTo(BeEmpty(), "no run had more than one token")
			evidence.Observe("time to the first token", performance.SpreadOf(first), "ms")
			evidence.Observe("decode of 1 token", performance.SpreadOf(decode), "ms")
			evidence.Observe("throughput", performance.SpreadOf(throughput), "tokens/s")
		})

		It("measures the time to start and load", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			performance.ObserveStarts(ctx, subject())
		})
	})
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
