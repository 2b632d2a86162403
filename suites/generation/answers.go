package generation

import (
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

func registerAnswers(subject func() *target.Target, name string, door doorway) {
	Describe("length", requirement.Claim("generation.length"), func() {
		DescribeTable("gives exactly max_tokens tokens when nothing else stops it",
			func(ctx SpecContext, maxTokens int) {
				over, client := door()
				request := subject().LongRequest(ctx, over)
				request.MaxTokens = maxTokens
				stream, chunked := streamed(ctx, over, client, request)
				evidence.Transcript("generation", stream.Exchange())
				for _, answer := range []api.Answer{chunked, whole(ctx, over, client, request)} {
					Expect(answer.CompletionTokens).To(HaveValue(Equal(maxTokens)), "the number of tokens, as the worker counts")
					Expect(answer.Finish).To(Equal(api.AtLimit), "why the answer ended: %q", answer.FinishWord)
					if over.Offers(api.TokenIDs) {
						Expect(answer.Tokens).To(HaveLen(maxTokens), "tokens")
					} else { // a piece holds whole characters, which may take several tokens
						Expect(len(answer.Pieces)).To(And(BeNumerically(">", 0), BeNumerically("<=", maxTokens)), "pieces of text")
					}
				}
			},
			Entry("one", SpecTimeout(specTimeout), 1),
			Entry("two", SpecTimeout(specTimeout), 2),
			Entry("eight", SpecTimeout(specTimeout), 8),
		)
	})

	Describe("stop sequence", requirement.Claim("generation.stop"), func() {
		It("ends the text and is left out", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			request := api.Greedy(rain, 32)
			text := whole(ctx, over, client, request).Text()
			stop := middle(text)
			Expect(stop).NotTo(BeEmpty(), "the text %q is too short to hold a stop sequence", text)
			before, _, _ := strings.Cut(text, stop)
			request.Stop = []string{"\x01never", stop}
			stream, stopped := streamed(ctx, over, client, request)
			evidence.Transcript("stopped generation", stream.Exchange())
			for _, answer := range []api.Answer{stopped, whole(ctx, over, client, request)} {
				Expect(answer.Finish).To(Or(Equal(api.AtStop), Equal(api.Stopped)), "why the answer ended: %q", answer.FinishWord)
				Expect(answer.Text()).To(Equal(before), "the text before the stop sequence %q", stop)
				if answer.Finish == api.AtStop {
					Expect(answer.StopSequence).To(Equal(stop), "the stop sequence told")
				}
			}
		})
	})

	Describe("usage", requirement.Claim("generation.usage"), func() {
		It("counts the tokens of prompt and answer, streamed and whole", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			for _, prompt := range prompts[:3] {
				stream, chunked := streamed(ctx, over, client, api.Greedy(prompt, 12))
				evidence.Transcript("generation", stream.Exchange())
				atOnce := whole(ctx, over, client, api.Greedy(prompt, 12))
				Expect(chunked.PromptTokens).To(HaveValue(BeNumerically(">", 0)), "tokens of the prompt")
				Expect(chunked.CompletionTokens).To(HaveValue(BeNumerically("<=", 12)), "tokens of the answer")
				if over.Offers(api.TokenIDs) {
					Expect(chunked.CompletionTokens).To(HaveValue(Equal(len(chunked.Tokens))), "the tokens sent, counted")
				}
				Expect(atOnce.PromptTokens).To(Equal(chunked.PromptTokens), "tokens of the prompt, whole and streamed")
				Expect(atOnce.CompletionTokens).To(Equal(chunked.CompletionTokens), "tokens of the answer, whole and streamed")
			}
		})
	})

	Describe("prompt", requirement.Claim("generation.prompt"), func() {
		It("is the one that was given", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			texts, distinct := map[string]string{}, map[string]bool{}
			for _, prompt := range prompts {
				texts[prompt] = whole(ctx, over, client, api.Greedy(prompt, 16)).Text()
				distinct[texts[prompt]] = true
			}
			evidence.Observe("texts", texts, "")
			Expect(len(distinct)).To(BeNumerically(">", 1), "every prompt is continued in the same way")
		})
	})

	if name == api.OpenAIChat {
		return // the oracle continued raw prompts
	}
	Describe("oracle", requirement.Claim("generation.golden"), func() {
		It("is repeated on every golden prompt", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			goldens := subject().Goldens()
			continued := 0
			for _, golden := range goldens.Prompts {
				if strings.Contains(golden.Prompt, "<|") {
					continue // a prompt is plain text: whether it may hold control tokens is the worker's choice
				}
				By(golden.Name)
				answer := whole(ctx, over, client, api.Greedy(golden.Prompt, len(golden.GreedyIDs)))
				Expect(answer.Text()).To(Equal(golden.GreedyText), "prompt %s", golden.Name)
				Expect(answer.PromptTokens).To(HaveValue(Equal(len(golden.PromptIDs))), "tokens of prompt %s", golden.Name)
				if over.Offers(api.TokenIDs) {
					Expect(answer.Tokens).To(matchers.MatchTokens(golden.ContinuationIDs()), "prompt %s", golden.Name)
				}
				want := []api.Finish{api.AtLimit}
				if golden.EndStep != nil {
					want = []api.Finish{api.AtEnd, api.Stopped}
				}
				Expect(want).To(ContainElement(answer.Finish), "why prompt %s ended: %q", golden.Name, answer.FinishWord)
				continued++
			}
			evidence.Observe("golden prompts equal", continued, "")
			evidence.Observe("oracle", goldens.Libraries, "")
			Expect(continued).To(BeNumerically(">=", len(goldens.Prompts)/2), "prompts that could be continued")
		})
	})
}
