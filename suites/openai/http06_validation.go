package openai

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// omitted stands for a field that is not sent.
type omitted struct{}

// boundaries tries the fields that every server must have, at their limits, beyond them, and with what they are not.
var boundaries = []struct {
	field    string
	accepted []any
	refused  []any
}{
	{"prompt", []any{"a"}, []any{7, map[string]any{}, omitted{}}},
	{"max_tokens", []any{1, 2}, []any{-1, 1.5, "1", true}},
	{"temperature", []any{0, 0.0001, 2}, []any{-0.0001, 2.0001, "1"}},
	{"top_p", []any{0.5, 1}, []any{-0.0001, 1.0001, "1"}},
	{"stop", []any{"a", []string{}, []string{"a", "b", "c", "d"}}, []any{7, []any{1}}},
	{"seed", []any{0, 1 << 30}, []any{1.5, "1"}},
	{"stream", []any{false}, []any{"yes", 7}},
}

// HTTP-06 Request validation.
func registerValidation(subject func() *target.Target) {
	notOffered("HTTP-06", "names all bad fields at once", "names one field in an error")
	Describe("request validation", requirement.ID("HTTP-06"), func() {
		for _, boundary := range boundaries {
			It("keeps the limits of "+boundary.field, SpecTimeout(specTimeout), func(ctx SpecContext) {
				client := httpClient(subject)
				ask := func(value any) *target.Response {
					GinkgoHelper()
					fields := subject().Completion("a", 1).With(boundary.field, value)
					if value == (any)(omitted{}) {
						fields = fields.Without(boundary.field)
					}
					response, err := client.Do(ctx, target.Post(completions, fields))
					Expect(err).NotTo(HaveOccurred(), "%s = %v", boundary.field, value)
					evidence.Observe(fmt.Sprintf("%s = %v", boundary.field, value), fmt.Sprintf("%d %.120s", response.Status, response.Body), "")
					return response
				}
				for _, value := range boundary.accepted {
					Expect(ask(value).Status).To(Equal(http.StatusOK), "%s = %v should be accepted", boundary.field, value)
				}
				for _, value := range boundary.refused {
					Expect(ask(value)).To(matchers.HaveOpenAIError(refused...), "%s = %v should be refused", boundary.field, value)
				}
			})
		}

		DescribeTable("refuses what is no request",
			func(ctx SpecContext, body any) {
				response, err := httpClient(subject).Do(ctx, target.Post(completions, body))
				Expect(err).NotTo(HaveOccurred())
				evidence.Observe("status and body", fmt.Sprintf("%d %.300s", response.Status, response.Body), "")
				Expect(response).To(matchers.HaveOpenAIError(refused...))
			},
			Entry("malformed JSON", SpecTimeout(specTimeout), `{"prompt": `),
			Entry("an empty body", SpecTimeout(specTimeout), ""),
			Entry("an array", SpecTimeout(specTimeout), "[]"),
			Entry("null", SpecTimeout(specTimeout), "null"),
			Entry("bytes that are not UTF-8", SpecTimeout(specTimeout), []byte("{\"prompt\":\"\xff\xfe\",\"max_tokens\":1}")),
		)

		// A server that does not survive this shall not take the other specs with it, so it is one of the spec's own.
		It("refuses deep nesting", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, err := subject().Start(ctx, target.Launch{})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := target.NewClient(worker.URL)
			DeferCleanup(client.Close)
			const depth = 100_000
			evidence.Observe("nested lists", depth, "")
			response, err := client.Do(ctx, target.Post(completions, `{"prompt":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`))
			if err != nil {
				Fail(fmt.Sprintf("a request was not answered\nexpected: a refusal\ngot: %v, and %s", err, fate(ctx, worker)))
			}
			Expect(response).To(matchers.HaveOpenAIError(refused...))
		})

		It("refuses a prompt beyond the context with a count, and never cuts it", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			words := 400_000 // beyond the context of any model
			if subject().CommandTakes("{model}") {
				known, err := subject().ModelFacts()
				Expect(err).NotTo(HaveOccurred())
				words = 2 * known.ContextLength
			}
			response, err := client.Do(ctx, target.Post(completions, subject().Completion(strings.Repeat("rain ", words), 1)))
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("words of the prompt", words, "")
			evidence.Observe("status and body", fmt.Sprintf("%d %.300s", response.Status, response.Body), "")
			Expect(response).To(matchers.HaveOpenAIError(refused...))
			Expect(string(response.Body)).To(MatchRegexp(`message.*[0-9]{2,}`), "the message tells how much fits")
		})
	})
}

// fate tells what became of a worker that did not answer: the system may take a moment to say so.
func fate(ctx context.Context, worker *target.Process) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	select {
	case <-worker.Ended():
		return fmt.Sprintf("the server died (exit code %d; -1 is a signal)", worker.ExitCode())
	case <-ctx.Done():
		return "the server still runs"
	}
}
