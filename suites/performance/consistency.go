package performance

import (
	"fmt"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/suites/api"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

const (
	// clockSlack is what the worker's clock and the client's may differ by: one event may wait for a scheduler's turn.
	clockSlack = 5 * time.Millisecond
	// longRuns is how often a time is told and measured. A busy machine delays some answers, a worker that tells too little
	// does so every time: the run counts in which the two agree best.
	longRuns = 5
	// leastShare is the part of the time that the client waited which the worker must account for.
	leastShare = 0.5
)

// expectConsistent expects the worker's figures to agree with each other and to fit into the time that the client waited.
func expectConsistent(answer api.Answer, stream *api.Stream) {
	GinkgoHelper()
	Expect(answer.Prefill).To(BeNumerically(">", 0), "the worker tells no time of its prefill")
	Expect(answer.Decode).To(BeNumerically(">=", 0))
	Expect(answer.TokensPerSecond).To(BeNumerically(">", 0), "the worker tells no tokens per second")
	events := stream.Events()
	elapsed := events[len(events)-1].At
	Expect(answer.Prefill+answer.Decode).To(BeNumerically("<=", elapsed+clockSlack), "the worker says it took longer than the client waited")
	n := *answer.CompletionTokens
	if n < 2 {
		return
	}
	// Whether the first token counts as decoded or as the end of the prefill is the worker's choice: n or n - 1 tokens.
	tokens := answer.TokensPerSecond * answer.Decode.Seconds()
	figures := fmt.Sprintf("tokens/s x time is not the number of tokens: %g tokens/s, %s, %d tokens", answer.TokensPerSecond, answer.Decode, n)
	Expect(tokens).To(BeNumerically(">=", 0.95*float64(n-1)), figures)
	Expect(tokens).To(BeNumerically("<=", 1.05*float64(n)), figures)
}

// expectDecodeTold expects the worker to account for the time in which a long text came: what is sent piece by piece cannot have
// been made much faster than it comes.
func expectDecodeTold(ctx SpecContext, subject *target.Target, client *wire.Client, door api.API) {
	GinkgoHelper()
	best := 0.0
	for range longRuns {
		answer, stream := told(ctx, client, door, subject.LongRequest(ctx, door))
		arrivals := stream.TextArrivals()
		best = max(best, share(answer.Decode, arrivals[len(arrivals)-1]-arrivals[0]))
	}
	evidence.Observe("part of the decoding that the worker's time accounts for", best, "")
	Expect(best).To(BeNumerically(">=", leastShare), "the worker says it decoded in far less time than the text took to come")
}

// expectPrefillTold expects the worker to account for the time until the first text of a long prompt that it has not seen before.
func expectPrefillTold(ctx SpecContext, client *wire.Client, door api.API) {
	GinkgoHelper()
	prompt := longPrompt(ctx, client, door)
	best := 0.0
	for range longRuns {
		answer, stream := told(ctx, client, door, api.Greedy(api.NewJobID()+prompt, 2))
		best = max(best, share(answer.Prefill, stream.FirstText()))
	}
	evidence.Observe("part of the wait for the first text that the worker's prefill accounts for", best, "")
	Expect(best).To(BeNumerically(">=", leastShare), "the worker says its prefill took far less time than the first text took to come")
}

// told asks for an answer that tells its times.
func told(ctx SpecContext, client *wire.Client, door api.API, request api.Request) (api.Answer, *api.Stream) {
	GinkgoHelper()
	stream, err := door.Open(ctx, client, request, nil)
	Expect(err).NotTo(HaveOccurred())
	defer stream.Close()
	answer, err := stream.Finished()
	Expect(err).NotTo(HaveOccurred())
	Expect(stream.TextArrivals()).NotTo(BeEmpty(), "the answer has no text")
	expectConsistent(answer, stream)
	return answer, stream
}

// share is the part of a time that another accounts for; clockSlack is granted.
func share(told, seen time.Duration) float64 {
	return (told + clockSlack).Seconds() / max(seen, clockSlack).Seconds()
}

// longPrompt fills about half of the context, 2,048 tokens at most.
func longPrompt(ctx SpecContext, client *wire.Client, door api.API) string {
	GinkgoHelper()
	const line, most = " rain on the roof and wind over the sea,", 2048
	tokenizer, offered := door.(api.Tokenizer)
	if !offered {
		return strings.Repeat(line, 32)
	}
	ids, err := tokenizer.Tokenize(ctx, client, line)
	Expect(err).NotTo(HaveOccurred())
	Expect(ids).NotTo(BeEmpty())
	response, err := client.Do(ctx, wire.Get("/health"))
	Expect(err).NotTo(HaveOccurred())
	var health api.Health
	Expect(response.JSON(&health)).To(Succeed())
	Expect(health.ContextLength).NotTo(BeNil())
	return strings.Repeat(line, max(1, min(*health.ContextLength/2, most)/len(ids)))
}
