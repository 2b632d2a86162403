// Package openai holds the specs of a server that is known by the OpenAI API alone: POST /v1/completions, GET /v1/models and
// what it offers of /v1/chat/completions, GET /health and a caller's id. They prove of the HTTP and integration rows what can
// be seen through that API; the rest of a row is skipped with its reason, so that the row is never greener than it is.
package openai

import (
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/requirement"
	"touchstone/suites/httpapi"
	"touchstone/suites/integration"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

const (
	// specTimeout leaves room for a server that answers one request after the other.
	specTimeout = 60 * time.Second
	// drainTimeout is the time a server has between SIGTERM and its end.
	drainTimeout = 5 * time.Second
)

// rain is a prompt of the bundled model's subject that any other model can continue too.
const rain = "Please write a haiku about rain"

// prompts are continued by any model of language; the bundled one writes haiku after some of them.
var prompts = []string{
	"Write a haiku about GPU computing", rain, "a", "The old pond:", "func main() {", "Écrivez un haïku: 東京の雨",
}

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	httpapi.RegisterProcess(subject)
	registerServer(subject)
	registerHealth(subject)
	registerCompletions(subject)
	registerChat(subject)
	registerStream(subject)
	registerCorrelation(subject)
	registerValidation(subject)
	integration.RegisterHarness(subject, func(ctx SpecContext, client *target.Client) int {
		return *whole(ctx, client, subject().Completion(rain, 4)).Usage.CompletionTokens
	})
	registerEndToEnd(subject)
	registerErrors(subject)
	integration.RegisterRefusals(subject)
	registerPerformance(subject)
}

// notOffered is a part of a row that nothing in the OpenAI API can show. It keeps the row from being green.
func notOffered(row, part, reason string) {
	It(part, requirement.ID(row), func() { Skip("the OpenAI API " + reason) })
}

// httpClient is the client of the shared server, or skips the spec.
func httpClient(subject func() *target.Target) *target.Client {
	GinkgoHelper()
	subject().Require(target.HTTP)
	return subject().Client()
}

const completions = "/v1/completions"

// apart makes a call over a connection of its own, as clients do that know nothing of each other. Some servers spend a thread
// on each connection that is kept.
func apart(call target.Call) target.Call { return call.With("Connection", "close") }

// path is where a request goes: a chat has messages.
func path(fields target.Fields) string {
	if _, isChat := fields["messages"]; isChat {
		return "/v1/chat/completions"
	}
	return completions
}

// whole asks for an answer in one piece, which must be a good one with its usage.
func whole(ctx SpecContext, client *target.Client, fields target.Fields) target.Completion {
	GinkgoHelper()
	response, err := client.Do(ctx, target.Post(path(fields), fields))
	Expect(err).NotTo(HaveOccurred())
	completion, err := response.Completion()
	Expect(err).NotTo(HaveOccurred())
	expectUsage(completion)
	return completion
}

// streamed asks for an answer in chunks, which must be a well-formed stream with its usage.
func streamed(ctx SpecContext, client *target.Client, fields target.Fields) (*target.Stream, target.Completion) {
	GinkgoHelper()
	stream, err := client.Open(ctx, target.Post(path(fields), fields.Streamed()))
	Expect(err).NotTo(HaveOccurred())
	defer stream.Close()
	Expect(stream.Drain()).To(Succeed())
	Expect(stream).To(matchers.BeWellFormedCompletion())
	completion, err := stream.Completion()
	Expect(err).NotTo(HaveOccurred())
	expectUsage(completion)
	return stream, completion
}

func expectUsage(completion target.Completion) {
	GinkgoHelper()
	usage := completion.Usage
	Expect(usage).NotTo(BeNil(), "the answer has no usage")
	Expect(usage.PromptTokens).NotTo(BeNil(), "usage has no prompt_tokens")
	Expect(usage.CompletionTokens).NotTo(BeNil(), "usage has no completion_tokens")
	Expect(usage.TotalTokens).To(HaveValue(Equal(*usage.PromptTokens+*usage.CompletionTokens)), "total_tokens is the sum of the others")
}

// longest finds, among few prompts and seeds, the request whose stream has most chunks: a model ends a text when it likes.
func longest(ctx SpecContext, subject *target.Target) (target.Fields, int) {
	GinkgoHelper()
	const most, enough = 96, 64
	var best target.Fields
	length := 0
	for seed := 1; seed <= 12 && length < enough; seed++ {
		fields := subject.Completion(prompts[seed%len(prompts)], most).With("temperature", 2.0).With("seed", seed)
		_, completion := streamed(ctx, subject.Client(), fields)
		if len(completion.Pieces) > length {
			best, length = fields, len(completion.Pieces)
		}
	}
	Expect(length).To(BeNumerically(">", 0), "no request was answered with a text")
	return best, length
}

// refused are the statuses of a request that is wrong.
var refused = []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}
