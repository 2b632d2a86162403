package openaiapi

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/process"
	"touchstone/suites/target"
	"touchstone/suites/wire"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
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

func registerValidation(subject func() *target.Target) {
	Describe("what a server does not know", requirement.Claim("openai.errors"), func() {
		DescribeTable("answers what it does not know with a JSON error",
			func(ctx SpecContext, call wire.Call, statuses []int) {
				response, err := httpClient(subject).Do(ctx, call)
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("refusal", response.Exchange())
				Expect(response).To(matchers.HaveOpenAIError(statuses...))
			},
			Entry("unknown path", SpecTimeout(specTimeout), wire.Get("/v1/no/such/path"), []int{http.StatusNotFound}),
			Entry("wrong method", SpecTimeout(specTimeout), wire.Get(completions), []int{http.StatusNotFound, http.StatusMethodNotAllowed}),
		)
	})

	Describe("limits of fields", requirement.Claim("openai.limits"), func() {
		for _, boundary := range boundaries {
			It("keeps the limits of "+boundary.field, SpecTimeout(specTimeout), func(ctx SpecContext) {
				client := httpClient(subject)
				ask := func(value any) *wire.Response {
					GinkgoHelper()
					fields := subject().Completion("a", 1).With(boundary.field, value)
					if value == (any)(omitted{}) {
						fields = fields.Without(boundary.field)
					}
					response, err := client.Do(ctx, wire.Post(completions, fields))
					Expect(err).NotTo(HaveOccurred(), "%s = %s", boundary.field, matchers.JSON(value))
					evidence.Observe(fmt.Sprintf("%s = %s", boundary.field, matchers.JSON(value)), fmt.Sprintf("%d %.120s", response.Status, response.Body), "")
					return response
				}
				for _, value := range boundary.accepted {
					Expect(ask(value).Status).To(Equal(http.StatusOK), "%s = %s should be accepted", boundary.field, matchers.JSON(value))
				}
				for _, value := range boundary.refused {
					Expect(ask(value)).To(matchers.HaveOpenAIError(refused...), "%s = %s should be refused", boundary.field, matchers.JSON(value))
				}
			})
		}
	})

	Describe("what is no request", requirement.Claim("openai.malformed"), func() {
		DescribeTable("refuses what is no request",
			func(ctx SpecContext, body any) {
				response, err := httpClient(subject).Do(ctx, wire.Post(completions, body))
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
	})

	Describe("nesting", requirement.Claim("openai.nesting"), func() {
		// A server that does not survive this shall not take the other specs with it, so it is one of the spec's own.
		It("refuses deep nesting", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, err := subject().Start(ctx, process.Launch{})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := subject().ClientOf(worker)
			DeferCleanup(client.Close)
			const depth = 100_000
			evidence.Observe("nested lists", depth, "")
			response, err := client.Do(ctx, wire.Post(completions, `{"prompt":`+strings.Repeat("[", depth)+strings.Repeat("]", depth)+`}`))
			if err != nil {
				Fail(fmt.Sprintf("a request was not answered\nexpected: a refusal\ngot: %v, and %s", err, fate(ctx, worker)))
			}
			Expect(response).To(matchers.HaveOpenAIError(refused...))
		})
	})

	Describe("context", requirement.Claim("openai.context-refused"), func() {
		It("refuses a prompt beyond the context with a count, and never cuts it", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			words := 400_000 // beyond the context of any model
			if subject().CommandTakes("{model}") {
				known, err := subject().ModelFacts()
				Expect(err).NotTo(HaveOccurred())
				words = 2 * known.ContextLength
			}
			response, err := client.Do(ctx, wire.Post(completions, subject().Completion(strings.Repeat("rain ", words), 1)))
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("words of the prompt", words, "")
			evidence.Observe("status and body", fmt.Sprintf("%d %.300s", response.Status, response.Body), "")
			Expect(response).To(matchers.HaveOpenAIError(refused...))
			Expect(string(response.Body)).To(MatchRegexp(`message.*[0-9]{2,}`), "the message tells how much fits")
		})
	})
}

// fate tells what became of a worker that did not answer: the system may take a moment to say so.
func fate(ctx context.Context, worker *process.Process) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	select {
	case <-worker.Ended():
		return fmt.Sprintf("the server died (exit code %d; -1 is a signal)", worker.ExitCode())
	case <-ctx.Done():
		return "the server still runs"
	}
}
