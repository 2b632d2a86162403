// Package performance holds the specs that record how fast a worker is. They judge the figures' consistency, not the speed:
// a slow machine is no defect, a figure that cannot be true is one.
package performance

import (
	"math"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/process"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

const specTimeout = 120 * time.Second

// Spread is a figure over several measurements.
type Spread struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	P95    float64 `json:"p95"`
	Max    float64 `json:"max"`
	N      int     `json:"n"`
}

// SpreadOf sums up at least one measurement.
func SpreadOf(values []float64) Spread {
	sorted := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 { return sorted[int(math.Ceil(q*float64(len(sorted))))-1] }
	return Spread{Min: sorted[0], Median: at(0.5), P95: at(0.95), Max: sorted[len(sorted)-1], N: len(sorted)}
}

// Register adds the specs, asked over the named interface, to the container that calls it.
func Register(subject func() *target.Target, over string) {
	Describe("figures", requirement.Claim("performance.figures"), func() {
		It("are measured by the client's clock, and the worker's own agree with it", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client, door := subject().Client(), subject().API(over)
			request := subject().LongRequest(ctx, door)
			request.MaxTokens = min(request.MaxTokens, 32)
			if tokenizer, offered := door.(api.Tokenizer); offered {
				request.Prompt = tenTokens(ctx, client, tokenizer)
			}
			const runs = 10
			var prefill, decode, throughput, firstText, gaps []float64
			for range runs {
				stream, err := door.Open(ctx, client, request, nil)
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(stream.Close)
				answer, err := stream.Finished()
				Expect(err).NotTo(HaveOccurred())
				Expect(answer.CompletionTokens).NotTo(BeNil(), "the answer does not count its tokens")
				tokens, arrivals := *answer.CompletionTokens, stream.TextArrivals()
				Expect(tokens).To(And(BeNumerically(">=", len(answer.Pieces)), BeNumerically("<=", request.MaxTokens)),
					"tokens counted, between the pieces of text and those asked for")
				if door.Offers(api.Timings) {
					expectConsistent(answer, stream)
					prefill = append(prefill, wire.Milliseconds(answer.Prefill))
				}
				firstText = append(firstText, wire.Milliseconds(stream.FirstText()))
				for i := 1; i < len(arrivals); i++ {
					gaps = append(gaps, wire.Milliseconds(arrivals[i]-arrivals[i-1]))
				}
				if took := arrivals[len(arrivals)-1] - arrivals[0]; tokens > 1 && took > 0 {
					decode = append(decode, wire.Milliseconds(took)/float64(tokens-1))
					throughput = append(throughput, float64(tokens-1)/took.Seconds())
				}
			}
			Expect(throughput).NotTo(BeEmpty(), "no run had more than one token")
			if len(prefill) > 0 {
				evidence.Observe("prefill of 10 tokens, by the worker's clock", SpreadOf(prefill), "ms")
			}
			evidence.Observe("time to the first text", SpreadOf(firstText), "ms")
			evidence.Observe("decode of 1 token", SpreadOf(decode), "ms")
			evidence.Observe("throughput", SpreadOf(throughput), "tokens/s")
			evidence.Observe("inter-token time", SpreadOf(gaps), "ms")
			if door.Offers(api.Timings) {
				expectPrefillTold(ctx, client, door)
				expectDecodeTold(ctx, subject(), client, door)
			}
			if over == api.Touchstone {
				expectFastEnough(ctx, subject(), SpreadOf(throughput).Median)
			}
		})
	})

	Describe("start", requirement.Claim("performance.start"), func() {
		It("takes a time that is measured", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			observeStarts(ctx, subject())
		})
	})

	if over != api.Touchstone {
		return
	}
	Describe("memory", requirement.Claim("performance.memory"), func() {
		It("is told", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			var health api.Health
			response, err := subject().Client().Do(ctx, wire.Get("/health"))
			Expect(err).NotTo(HaveOccurred())
			Expect(response.JSON(&health)).To(Succeed())
			Expect(health.VRAMBytesUsed).To(HaveValue(BeNumerically(">", 0)))
			evidence.Observe("memory", *health.VRAMBytesUsed, "bytes")
		})
	})
}

// observeStarts measures the time from a worker's start until it is ready.
func observeStarts(ctx SpecContext, subject *target.Target) {
	GinkgoHelper()
	var ready []float64
	const starts = 3
	for range starts {
		worker, err := subject.Start(ctx, process.Launch{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(worker.Kill)
		Expect(worker.ReadyAfter).To(BeNumerically(">", 0))
		ready = append(ready, float64(worker.ReadyAfter.Microseconds())/1000)
		Expect(worker.Stop(ctx)).To(Succeed())
	}
	evidence.Observe("start and load", SpreadOf(ready), "ms")
}

// tenTokens is a prompt of ten tokens in the worker's own tokenizer, or the nearest below.
func tenTokens(ctx SpecContext, client *wire.Client, tokenizer api.Tokenizer) string {
	GinkgoHelper()
	const want = 10
	prompt := ""
	for _, word := range strings.Fields("Write a haiku about rain and wind over the sea and the moon at night") {
		longer := strings.TrimSpace(prompt + " " + word)
		ids, err := tokenizer.Tokenize(ctx, client, longer)
		Expect(err).NotTo(HaveOccurred())
		if len(ids) > want {
			break
		}
		prompt = longer
		if len(ids) == want {
			break
		}
	}
	Expect(prompt).NotTo(BeEmpty())
	return prompt
}

// expectFastEnough holds the one absolute figure of the gate: on a CUDA device, a model of about 0.5 billion weights decodes
// at least 10 tokens a second.
func expectFastEnough(ctx SpecContext, subject *target.Target, tokensPerSecond float64) {
	GinkgoHelper()
	const least, smallest, largest = 10, 300 << 20, 1600 << 20
	response, err := subject.Client().Do(ctx, wire.Get("/health"))
	Expect(err).NotTo(HaveOccurred())
	var health api.Health
	Expect(response.JSON(&health)).To(Succeed())
	if !strings.HasPrefix(health.Device, "cuda") || *health.VRAMBytesUsed < smallest || *health.VRAMBytesUsed > largest {
		return
	}
	Expect(tokensPerSecond).To(BeNumerically(">=", least))
}
