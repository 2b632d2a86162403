package generation

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/expectation"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

const (
	// expectedTimeout leaves room for a slow machine: the reference computes every answer, too.
	expectedTimeout = 4 * time.Minute
	// unforeseen is how many requests a run of a gate takes.
	unforeseen = 120
)

// offers is what each interface has words for.
func offers(over api.API) expectation.Offer {
	if over.Name() == api.Touchstone {
		return expectation.Everything()
	}
	offer := expectation.Offer{Text: true, Stop: 4, Alternatives: 5, SeedBits: 31, MaxTokens: 2048, Company: 8}
	if over.Name() == api.OpenAIChat {
		offer.Text, offer.Chat = false, true
	}
	return offer
}

// registerExpected adds the spec that compares answers with those of the reference library on the same weights, for requests
// that nobody could foresee.
func registerExpected(subject func() *target.Target, door doorway) {
	Describe("requests that nobody could foresee", requirement.Claim("generation.expected"), func() {
		It("are answered as the reference library answers them", SpecTimeout(expectedTimeout), func(ctx SpecContext) {
			over, client := door()
			if !subject().Profile.KnowsModel() {
				Skip("needs the model file that the worker serves: {model} in its command, or model and model-sha256 in a profile")
			}
			reference, err := expectation.Open(subject().Profile.Model)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(reference.Close)
			cases := drawnCases(reference, offers(over))
			canonical := subject().Profile.Promises()
			var draws expectation.Draws
			compared, unidentified := 0, 0
			for _, group := range expectation.Groups(cases) {
				answers, failures := together(ctx, over, client, group)
				for i, c := range group {
					Expect(failures[i]).NotTo(HaveOccurred(), "%s\nrequest: %s", c.Name(), c)
					if canonical {
						Expect(c.Compare(answers[i])).To(matchers.BeAsExpected())
						compared++
						continue
					}
					drawn, err := reference.Force(c, answers[i], expectation.QuantisedBound)
					if errors.Is(err, expectation.ErrUnidentified) {
						unidentified++
						continue
					}
					Expect(err).To(matchers.BeAsExpected())
					draws = append(draws, drawn...)
					compared++
				}
			}
			evidence.Observe("answers compared", map[string]any{"answers": compared, "bit for bit": canonical, "tokens not told": unidentified}, "")
			Expect(compared).To(BeNumerically(">=", (len(cases)+3)/4), "answers whose tokens are known")
			if canonical {
				return
			}
			outcomes, err := draws.Test()
			evidence.Observe("sampled tokens against their distributions", outcomes, "")
			Expect(err).To(matchers.BeAsExpected())
		})
	})
}

// drawnCases are the cases of the run, or the one that GATE_CASE names.
func drawnCases(reference *expectation.Reference, offer expectation.Offer) []expectation.Case {
	GinkgoHelper()
	if name := os.Getenv("GATE_CASE"); name != "" {
		seed, index, ours := expectation.ParseName(expectation.Kind, name)
		if !ours {
			Skip("GATE_CASE names a case of another spec")
		}
		c, err := reference.Case(seed, index, offer)
		Expect(err).NotTo(HaveOccurred())
		return []expectation.Case{c}
	}
	seed, err := expectation.RunSeed()
	Expect(err).NotTo(HaveOccurred())
	evidence.Observe("seed of the requests", fmt.Sprint(seed), "")
	cases, err := reference.Cases(seed, unforeseen, offer)
	Expect(err).NotTo(HaveOccurred())
	return cases
}

// together sends the requests of a group at once.
func together(ctx SpecContext, over api.API, client *wire.Client, group []expectation.Case) ([]expectation.Answer, []error) {
	answers, failures := make([]expectation.Answer, len(group)), make([]error, len(group))
	var waiting sync.WaitGroup
	for i, c := range group {
		waiting.Go(func() {
			defer GinkgoRecover()
			answers[i], failures[i] = answered(ctx, over, client, c)
		})
	}
	waiting.Wait()
	return answers, failures
}

// answered puts a case in the words of an interface, and the answer in those of the expectation.
func answered(ctx SpecContext, over api.API, client *wire.Client, c expectation.Case) (expectation.Answer, error) {
	request := api.Request{
		Prompt: c.Prompt.Text, MaxTokens: c.MaxTokens, Temperature: c.Temperature, TopK: c.TopK, TopP: c.TopP, MinP: c.MinP,
		RepetitionPenalty: c.RepetitionPenalty, Seed: c.SamplingSeed, Stop: c.Stop, LogitsHash: c.LogitsHash,
	}
	for _, message := range c.Prompt.Chat {
		request.Messages = append(request.Messages, api.Message{Role: message.Role, Content: message.Content})
	}
	if c.Logprobs {
		request.Logprobs = c.Alternatives
	}
	var got api.Answer
	var err error
	if c.Stream {
		var stream *api.Stream
		if stream, err = over.Open(ctx, client, request, nil); err != nil {
			return expectation.Answer{}, err
		}
		defer stream.Close()
		got, err = stream.Finished()
	} else {
		got, err = over.Whole(ctx, client, request)
	}
	if err != nil {
		return expectation.Answer{}, err
	}
	answer := expectation.Answer{
		Tokens: got.Tokens, Text: got.Text(), FinishReason: got.FinishWord, StopSequence: got.StopSequence, Logprobs: got.Logprobs,
		Pieces: got.TokenTexts, TextOffsets: got.TextOffsets, TopByText: got.TopByText, LogitsSHA256: got.LogitsSHA256,
	}
	if got.PromptTokens != nil {
		answer.PromptTokens = *got.PromptTokens
	}
	if got.CompletionTokens != nil {
		answer.CompletionTokens = *got.CompletionTokens
	}
	for _, listed := range got.Top {
		alternatives := []expectation.Alternative{}
		for _, a := range listed {
			alternatives = append(alternatives, expectation.Alternative{ID: a.ID, Text: a.Text, Logprob: a.Logprob})
		}
		answer.Top = append(answer.Top, alternatives)
	}
	return answer, nil
}
