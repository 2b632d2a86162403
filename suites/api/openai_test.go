package api_test

import (
	"net/http"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/wire"
)

const (
	word   = `data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}` + "\n\n"
	finish = `data: {"choices":[{"index":0,"text":"","finish_reason":"length"}]}` + "\n\n"
	usage  = `data: {"choices":[],"usage":{"prompt_tokens":2,"completion_tokens":1,"total_tokens":3}}` + "\n\n"
	done   = "data: [DONE]\n\n"
)

// open asks a server that answers with these parts for a stream, and reads it to its end.
func open(ctx SpecContext, contentType string, parts ...string) *wire.Stream {
	GinkgoHelper()
	stream, err := serve(contentType, parts...).Open(ctx, wire.Post("/v1/completions", api.Fields{}))
	Expect(err).NotTo(HaveOccurred())
	defer stream.Close()
	Expect(stream.Drain()).To(Succeed())
	return stream
}

var _ = Describe("a stream of the OpenAI API", func() {
	It("is read with its usage", SpecTimeout(10*time.Second), func(ctx SpecContext) {
		stream := open(ctx, "text/event-stream", word, word, finish, usage, done)
		Expect(stream).To(matchers.BeWellFormedCompletion())
		completion, err := api.ReadChunks(stream)
		Expect(err).NotTo(HaveOccurred())
		Expect(completion.Text()).To(Equal("aa"))
		Expect(completion.FinishReason).To(Equal("length"))
		Expect(completion.Usage.TotalTokens).To(HaveValue(Equal(3)))
	})

	DescribeTable("is not well-formed",
		func(ctx SpecContext, problem, contentType string, parts ...string) {
			matcher := matchers.BeWellFormedCompletion()
			stream := open(ctx, contentType, parts...)
			Expect(matcher.Match(stream)).To(BeFalse())
			Expect(matcher.FailureMessage(stream)).To(ContainSubstring(problem))
		},
		Entry("as JSON", SpecTimeout(10*time.Second), "want 200 text/event-stream", "application/json", "{}"),
		Entry("empty", SpecTimeout(10*time.Second), "no finish_reason", "text/event-stream", ""),
		Entry("without [DONE]", SpecTimeout(10*time.Second), "without [DONE]", "text/event-stream", word, finish),
		Entry("with two [DONE]", SpecTimeout(10*time.Second), "comes after event 2, which was [DONE]", "text/event-stream", word, finish, done, done),
		Entry("without finish_reason", SpecTimeout(10*time.Second), "no finish_reason", "text/event-stream", word, done),
		Entry("with two", SpecTimeout(10*time.Second), "is a choice after event 1", "text/event-stream", word, finish, finish, done),
		Entry("with a named event", SpecTimeout(10*time.Second), `the type "token"`, "text/event-stream", "event: token\n"+word, finish, done),
		Entry("with half a character", SpecTimeout(10*time.Second), "not UTF-8", "text/event-stream", strings.Replace(word, `"a"`, "\"\xe6\"", 1), finish, done),
		Entry("with a stray newline", SpecTimeout(10*time.Second), "no field of an event stream", "text/event-stream", strings.Replace(word, `,"text"`, ",\n\"text\"", 1), finish, done),
		Entry("with an error", SpecTimeout(10*time.Second), "ends with an error", "text/event-stream", word, "data: {\"error\":{\"message\":\"m\"}}\n\n"),
		Entry("with a second choice", SpecTimeout(10*time.Second), "whose index is not 0", "text/event-stream", strings.Replace(word, `"index":0`, `"index":1`, 1), finish, done),
		Entry("with nothing in a chunk", SpecTimeout(10*time.Second), "neither choice nor usage", "text/event-stream", word, finish, "data: {\"choices\":[]}\n\n", done),
		Entry("with no text in a choice", SpecTimeout(10*time.Second), "neither text nor delta", "text/event-stream", "data: {\"choices\":[{\"index\":0}]}\n\n", finish, done),
		Entry("with two data lines", SpecTimeout(10*time.Second), "2 data lines", "text/event-stream", "data: {\ndata: }\n\n", finish, done),
		Entry("with text that is no JSON", SpecTimeout(10*time.Second), "not the JSON of a chunk", "text/event-stream", "data: a\n\n", finish, done),
	)

	It("tells a refusal in the API's shape from others", SpecTimeout(10*time.Second), func(ctx SpecContext) {
		for body, problem := range map[string]string{
			`{"error":{"message":"m"}}`: "", `{"error":{"message":" "}}`: "without error.message", `{"message":"m"}`: "without error.message", `<html>`: "not the JSON wanted",
		} {
			response, err := serve("application/json", body).Do(ctx, wire.Get("/"))
			Expect(err).NotTo(HaveOccurred())
			matcher := matchers.HaveOpenAIError(http.StatusOK)
			Expect(matcher.Match(response)).To(Equal(problem == ""), body)
			Expect(matcher.FailureMessage(response)).To(ContainSubstring(problem), body)
			Expect(matchers.HaveOpenAIError(http.StatusBadRequest).Match(response)).To(BeFalse(), body)
		}
	})
})
