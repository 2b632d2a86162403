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
				response := hostile(ctx, subject, target.Post(completions, body))
				evidence.Observe("status and body", fmt.Sprintf("%d %.300s", response.Status, response.Body), "")
				Expect(response).To(matchers.HaveOpenAIError(refused...))
			},
			Entry("malformed JSON", SpecTimeout(specTimeout), `{"prompt": `),
			Entry("an empty body", SpecTimeout(specTimeout), ""),
			Entry("an array", SpecTimeout(specTimeout), "[]"),
			Entry("null", SpecTimeout(specTimeout), "null"),
			Entry("bytes that are not UTF-8", SpecTimeout(specTimeout), []byte("{\"prompt\":\"\xff\xfe\",\"max_tokens\":1}")),
			Entry("deep nesting", SpecTimeout(specTimeout), `{"prompt":`+strings.Repeat("[", 100000)+strings.Repeat("]", 100000)+`}`),
		)

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

// hostile makes a call that a server may not survive: to one of its own where the harness can start one, so that the other
// specs still find the shared one.
func hostile(ctx SpecContext, subject func() *target.Target, call target.Call) *target.Response {
	GinkgoHelper()
	client := httpClient(subject)
	if !subject().Has(target.Restart) {
		response, err := client.Do(ctx, call)
		Expect(err).NotTo(HaveOccurred())
		return response
	}
	worker, err := subject().Start(ctx, target.Launch{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(worker.Kill)
	client = target.NewClient(worker.URL)
	DeferCleanup(client.Close)
	response, err := client.Do(ctx, call)
	if err != nil {
		dying, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		select {
		case <-worker.Ended():
			Fail(fmt.Sprintf("the server died of a request\nexpected: a refusal\ngot: no answer, the process ended (exit code %d; -1 is a signal)\n%v", worker.ExitCode(), err))
		case <-dying.Done():
		}
	}
	Expect(err).NotTo(HaveOccurred())
	return response
}
