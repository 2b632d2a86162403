// Package performance holds the specs that record how fast a worker is. They judge the figures' consistency, not the speed:
// a slow machine is no defect, a figure that cannot be true is one.
package performance

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/target"
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

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	Describe("performance recorded", requirement.ID("PERF-01"), func() {
		It("measures prefill, decode and throughput, and finds them consistent", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			prompt := tenTokens(ctx, client)
			fields := subject().LongJob(ctx).With("prompt", prompt).With("max_tokens", 32)
			const runs = 10
			var prefill, decode, throughput, firstToken, gaps []float64
			for range runs {
				stream, err := client.Execute(ctx, fields.With("job_id", target.NewJobID()))
				Expect(err).NotTo(HaveOccurred())
				generation, err := stream.Generation()
				Expect(err).NotTo(HaveOccurred())
				Expect(generation.End).NotTo(BeNil(), "the stream has no end event")
				end := *generation.End
				expectConsistent(end, stream)
				if n := len(generation.Tokens); n > 1 {
					decode = append(decode, *end.DecodeTimeMS/float64(n-1))
					throughput = append(throughput, *end.TokensPerSecond)
				}
				prefill = append(prefill, *end.PrefillMS)
				var previous time.Duration
				for _, event := range stream.Events() {
					if event.Type != "token" {
						continue
					}
					if previous == 0 {
						firstToken = append(firstToken, float64(event.At.Microseconds())/1000)
					} else {
						gaps = append(gaps, float64((event.At-previous).Microseconds())/1000)
					}
					previous = event.At
				}
			}
			Expect(throughput).NotTo(BeEmpty(), "no run had more than one token")
			evidence.Observe("prefill of 10 tokens", SpreadOf(prefill), "ms")
			evidence.Observe("decode of 1 token", SpreadOf(decode), "ms")
			evidence.Observe("throughput", SpreadOf(throughput), "tokens/s")
			evidence.Observe("time to the first token, seen by the client", SpreadOf(firstToken), "ms")
			evidence.Observe("inter-token time, seen by the client", SpreadOf(gaps), "ms")
			expectFastEnough(ctx, subject(), SpreadOf(throughput).Median)
		})

		It("measures the time to load and the memory", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			var health target.Health
			response, err := subject().Client().Do(ctx, target.Get("/health"))
			Expect(err).NotTo(HaveOccurred())
			Expect(response.JSON(&health)).To(Succeed())
			Expect(health.VRAMBytesUsed).To(HaveValue(BeNumerically(">", 0)))
			evidence.Observe("memory", *health.VRAMBytesUsed, "bytes")
			if !subject().Has(target.Restart) {
				return
			}
			ObserveStarts(ctx, subject())
		})
	})
}

// ObserveStarts measures the time from a worker's start until it is ready.
func ObserveStarts(ctx SpecContext, subject *target.Target) {
	GinkgoHelper()
	var ready []float64
	const starts = 3
	for range starts {
		worker, err := subject.Start(ctx, target.Launch{})
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(worker.Kill)
		Expect(worker.ReadyAfter).To(BeNumerically(">", 0))
		ready = append(ready, float64(worker.ReadyAfter.Microseconds())/1000)
		Expect(worker.Stop(ctx)).To(Succeed())
	}
	evidence.Observe("start and load", SpreadOf(ready), "ms")
}

// expectConsistent expects the worker's figures to agree with each other and with the client's clock.
func expectConsistent(end target.End, stream *target.Stream) {
	GinkgoHelper()
	Expect(end.PrefillMS).NotTo(BeNil(), "the end event has no prefill_ms")
	Expect(end.DecodeTimeMS).NotTo(BeNil(), "the end event has no decode_time_ms")
	Expect(end.TokensPerSecond).NotTo(BeNil(), "the end event has no tokens_per_second")
	Expect(end.TokensOut).NotTo(BeNil(), "the end event has no tokens_out")
	Expect(*end.PrefillMS).To(BeNumerically(">", 0))
	events := stream.Events()
	elapsed := float64(events[len(events)-1].At.Microseconds()) / 1000
	const clockSlack = 5 // ms
	Expect(*end.PrefillMS+*end.DecodeTimeMS).To(BeNumerically("<=", elapsed+clockSlack), "the worker says it took longer than the client waited")
	if *end.TokensOut < 2 {
		return
	}
	// Whether the first token counts as decoded or as the end of the prefill is the worker's choice: n or n - 1 tokens.
	tokens := *end.TokensPerSecond * *end.DecodeTimeMS / 1000
	n := float64(*end.TokensOut)
	Expect(tokens).To(BeNumerically(">=", 0.95*(n-1)), figures(end))
	Expect(tokens).To(BeNumerically("<=", 1.05*n), figures(end))
}

func figures(end target.End) string {
	return fmt.Sprintf("tokens/s x time is not the number of tokens: %g tokens/s, %g ms, %d tokens", *end.TokensPerSecond, *end.DecodeTimeMS, *end.TokensOut)
}

// tenTokens is a prompt of ten tokens in the worker's own tokenizer, or the nearest below.
func tenTokens(ctx SpecContext, client *target.Client) string {
	GinkgoHelper()
	const want = 10
	prompt := ""
	for _, word := range strings.Fields("Write a haiku about rain and wind over the sea and the moon at night") {
		longer := strings.TrimSpace(prompt + " " + word)
		response, err := client.Do(ctx, target.Post("/tokenize", target.Fields{"text": longer}))
		Expect(err).NotTo(HaveOccurred())
		var tokenized struct {
			Tokens []target.Piece `json:"tokens"`
		}
		Expect(response.JSON(&tokenized)).To(Succeed())
		if len(tokenized.Tokens) > want {
			break
		}
		prompt = longer
		if len(tokenized.Tokens) == want {
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
	response, err := subject.Client().Do(ctx, target.Get("/health"))
	Expect(err).NotTo(HaveOccurred())
	var health target.Health
	Expect(response.JSON(&health)).To(Succeed())
	if !strings.HasPrefix(health.Device, "cuda") || *health.VRAMBytesUsed < smallest || *health.VRAMBytesUsed > largest {
		return
	}
	Expect(tokensPerSecond).To(BeNumerically(">=", least))
}
