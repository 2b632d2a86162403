package openai

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// INT-03 Errors across layers. After every failure the next request must work.
func registerErrors(subject func() *target.Target) {
	notOffered("INT-03", "tells a fault planted in each layer by its code", "documents no codes for faults of the layers below")
	Describe("errors across layers", requirement.ID("INT-03"), func() {
		It("serves on after each bad request", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			expected := whole(ctx, client, subject().Completion(rain, 4)).Text()
			for _, bad := range []struct {
				name   string
				fields target.Fields
			}{
				{"a prompt that is no text", subject().Completion("", 1).With("prompt", map[string]any{})},
				{"no prompt", subject().Completion("a", 1).Without("prompt")},
				{"a stream of nothing", subject().Completion("a", 1).Without("prompt").Streamed()},
			} {
				response, err := client.Do(ctx, target.Post(completions, bad.fields))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript(bad.name, response.Exchange())
				Expect(whole(ctx, client, subject().Completion(rain, 4)).Text()).To(Equal(expected), "the next answer after %s", bad.name)
				Expect(response).To(matchers.HaveOpenAIError(refused...), "%s should be refused", bad.name)
			}
		})
	})
}
