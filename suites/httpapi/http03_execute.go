package httpapi

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// HTTP-03 Execute endpoint.
func registerExecute(subject func() *target.Target) {
	Describe("execute endpoint", requirement.ID("HTTP-03"), func() {
		DescribeTable("streams exactly max_tokens tokens when nothing else stops it",
			func(ctx SpecContext, maxTokens int) {
				client := httpClient(subject)
				stream, generation := execute(ctx, client, subject().LongJob(ctx).With("max_tokens", maxTokens))
				evidence.Transcript("generation", stream.Exchange())
				Expect(stream).To(matchers.BeWellFormedSSE())
				end := mustEnd(generation)
				Expect(generation.Tokens).To(HaveLen(maxTokens))
				Expect(*end.TokensOut).To(Equal(maxTokens), "tokens_out")
				Expect(end.StopReason).To(Equal("max_tokens"))
			},
			Entry("one", SpecTimeout(specTimeout), 1),
			Entry("two", SpecTimeout(specTimeout), 2),
			Entry("eight", SpecTimeout(specTimeout), 8),
		)

		It("stops at a stop sequence and leaves it out", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := target.Generate(rain, 32)
			_, whole := execute(ctx, client, fields)
			text := whole.Text()
			stop := middle(text)
			Expect(stop).NotTo(BeEmpty(), "the text %q is too short to hold a stop sequence", text)
			before, _, _ := strings.Cut(text, stop)

			stream, stopped := execute(ctx, client, fields.With("job_id", target.NewJobID()).With("stop", []string{"\x00never", stop}))
			evidence.Transcript("stopped generation", stream.Exchange())
			end := mustEnd(stopped)
			Expect(end.StopReason).To(Equal("stop_sequence"))
			Expect(end.StopSequence).To(HaveValue(Equal(stop)))
			Expect(stopped.Text()).To(Equal(before), "the text before the stop sequence %q", stop)
			Expect(*end.TokensOut).To(Equal(len(stopped.Tokens)))
		})

		It("counts the tokens it sent and reports its parameters", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := target.Generate(rain, 12).With("seed", uint64(18446744073709551615)).With("temperature", 0.5).With("top_k", 7)
			stream, generation := execute(ctx, client, fields)
			evidence.Transcript("generation", stream.Exchange())
			end := mustEnd(generation)
			Expect(*end.TokensOut).To(Equal(len(generation.Tokens)))
			started := generation.Started
			Expect(started).NotTo(BeNil())
			Expect(started.JobID).To(Equal(fields.JobID()))
			Expect(started.Seed.String()).To(Equal("18446744073709551615"), "a seed keeps all its 64 bits")
			Expect(started.PromptTokens).To(BeNumerically(">", 0))
			for name, want := range map[string]string{"temperature": "0.5", "top_k": "7", "max_tokens": "12"} {
				Expect(started.Effective).To(HaveKey(name))
				Expect(string(started.Effective[name])).To(Equal(want), "effective %s", name)
			}
		})

		It("generates a seed and reports it", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := target.Generate(rain, 12).With("temperature", 1.0).Without("seed")
			_, first := execute(ctx, client, fields)
			_, second := execute(ctx, client, fields.With("job_id", target.NewJobID()))
			Expect(first.Started.Seed).NotTo(Equal(second.Started.Seed), "two requests without a seed")
			_, again := execute(ctx, client, fields.With("job_id", target.NewJobID()).With("seed", first.Started.Seed))
			Expect(again.IDs()).To(matchers.MatchTokens(first.IDs()), "the reported seed repeats the run")
			evidence.Observe("generated seed", first.Started.Seed.String(), "")
		})

		It("agrees with the oracle on every golden prompt", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			goldens := subject().Goldens()
			continued := 0
			for _, golden := range goldens.Prompts {
				By(golden.Name)
				response, err := client.Do(ctx, target.Post("/tokenize", target.Fields{"text": golden.Prompt, "special": true}))
				Expect(err).NotTo(HaveOccurred())
				var tokenized struct {
					Tokens []target.Piece `json:"tokens"`
				}
				Expect(response.JSON(&tokenized)).To(Succeed())
				Expect(target.PieceIDs(tokenized.Tokens)).To(matchers.MatchTokens(golden.PromptIDs), "prompt %s", golden.Name)

				if strings.Contains(golden.Prompt, "<|") {
					continue // a prompt of /execute is plain text: it holds no control tokens
				}
				stream, generation := execute(ctx, client, target.Generate(golden.Prompt, len(golden.GreedyIDs)))
				evidence.Transcript(golden.Name, stream.Exchange())
				end := mustEnd(generation)
				Expect(generation.Started.PromptTokens).To(Equal(len(golden.PromptIDs)), "prompt %s", golden.Name)
				Expect(generation.IDs()).To(matchers.MatchTokens(golden.ContinuationIDs()), "prompt %s", golden.Name)
				Expect(generation.Text()).To(Equal(golden.GreedyText), "prompt %s", golden.Name)
				Expect(end.StopReason).To(Equal(golden.StopReason()), "prompt %s", golden.Name)
				continued++
			}
			evidence.Observe("golden prompts equal", continued, "")
			Expect(continued).To(BeNumerically(">=", len(goldens.Prompts)/2), "prompts that could be continued")
			evidence.Observe("oracle", goldens.Libraries, "")
		})
	})
}

// middle takes a few characters from inside a text, at a place where they occur for the first time.
func middle(text string) string {
	runes := []rune(text)
	for size := 4; size >= 1; size-- {
		for at := len(runes) / 3; at > 0 && at+size < len(runes); at++ {
			candidate := string(runes[at : at+size])
			if strings.TrimSpace(candidate) != "" && !strings.ContainsRune(candidate, '\uFFFD') &&
				strings.Index(text, candidate) == len(string(runes[:at])) {
				return candidate
			}
		}
	}
	return ""
}
