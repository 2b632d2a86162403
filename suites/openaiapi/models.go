package openaiapi

import (
	"net/http"
	"strings"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

func registerModels(subject func() *target.Target) {
	Describe("health", requirement.Claim("openai.health"), func() {
		It("answers 200 with JSON while it serves", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			subject().Require(target.HealthEndpoint)
			response, err := client.Do(ctx, wire.Get("/health"))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("health", response.Exchange())
			Expect(response.Status).To(Equal(http.StatusOK))
			var fields map[string]any
			Expect(response.JSON(&fields)).To(Succeed())
		})
	})

	Describe("models", requirement.Claim("openai.models"), func() {
		It("names the model that it serves", SpecTimeout(specTimeout), func(ctx SpecContext) {
			models, err := api.Models(ctx, httpClient(subject))
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("models", models, "")
			if !subject().CommandTakes("{model}") {
				return // the server chose its model
			}
			known, err := subject().ModelFacts()
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("model file", known, "")
			id := strings.ToLower(models[0])
			Expect(id).To(Or(ContainSubstring(strings.ToLower(known.Name)), ContainSubstring(strings.ToLower(subject().ModelLabel()))), "the model's name")
		})
	})

	Describe("bad requests", requirement.Claim("openai.serves-on"), func() {
		It("serves on after each bad request", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			expected := answerOf(ctx, subject())
			for _, bad := range []struct {
				name   string
				fields api.Fields
			}{
				{"a prompt that is no text", subject().Completion("", 1).With("prompt", map[string]any{})},
				{"no prompt", subject().Completion("a", 1).Without("prompt")},
				{"a stream of nothing", subject().Completion("a", 1).Without("prompt").Streamed()},
			} {
				response, err := client.Do(ctx, wire.Post(completions, bad.fields))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript(bad.name, response.Exchange())
				Expect(answerOf(ctx, subject())).To(Equal(expected), "the next answer after %s", bad.name)
				Expect(response).To(matchers.HaveOpenAIError(refused...), "%s should be refused", bad.name)
			}
		})
	})
}

// answerOf is the text of a short plain answer.
func answerOf(ctx SpecContext, subject *target.Target) string {
	GinkgoHelper()
	answer, err := subject.API(api.OpenAICompletions).Whole(ctx, subject.Client(), api.Greedy(rain, 4))
	Expect(err).NotTo(HaveOccurred())
	return answer.Text()
}
