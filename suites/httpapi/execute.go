package httpapi

import (
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

// Execute endpoint.
func registerExecute(subject func() *target.Target) {
	Describe("parameters", requirement.Claim("execute.parameters"), func() {
		It("counts the tokens it sent and reports its parameters", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := api.Generate(rain, 12).With("seed", uint64(18446744073709551615)).With("temperature", 0.5).With("top_k", 7)
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
	})

	Describe("seed", requirement.Claim("execute.seed"), func() {
		It("generates a seed and reports it", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := api.Generate(rain, 12).With("temperature", 1.0).Without("seed")
			_, first := execute(ctx, client, fields)
			_, second := execute(ctx, client, fields.With("job_id", api.NewJobID()))
			Expect(first.Started.Seed).NotTo(Equal(second.Started.Seed), "two requests without a seed")
			_, again := execute(ctx, client, fields.With("job_id", api.NewJobID()).With("seed", first.Started.Seed))
			Expect(again.IDs()).To(matchers.MatchTokens(first.IDs()), "the reported seed repeats the run")
			evidence.Observe("generated seed", first.Started.Seed.String(), "")
		})
	})

	Describe("tokenizer", requirement.Claim("tokenizer.golden"), func() {
		It("agrees with the oracle on every golden prompt", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			goldens := subject().Goldens()
			continued := 0
			for _, golden := range goldens.Prompts {
				By(golden.Name)
				response, err := client.Do(ctx, wire.Post("/tokenize", api.Fields{"text": golden.Prompt, "special": true}))
				Expect(err).NotTo(HaveOccurred())
				var tokenized struct {
					Tokens []api.Piece `json:"tokens"`
				}
				Expect(response.JSON(&tokenized)).To(Succeed())
				Expect(api.PieceIDs(tokenized.Tokens)).To(matchers.MatchTokens(golden.PromptIDs), "prompt %s", golden.Name)

				if strings.Contains(golden.Prompt, "<|") {
					continue // a prompt of /execute is plain text: it holds no control tokens
				}
				stream, generation := execute(ctx, client, api.Generate(golden.Prompt, len(golden.GreedyIDs)))
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
