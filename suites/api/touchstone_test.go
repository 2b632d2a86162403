package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/wire"
)

const (
	started = "id: 0\nevent: started\ndata: {\"job_id\":\"j\"}\n\n"
	first   = "id: 1\nevent: token\ndata: {\"i\":0,\"t\":\"a\",\"id\":5}\n\n"
	second  = "id: 2\nevent: token\ndata: {\"i\":1,\"t\":\"b\",\"id\":6}\n\n"
	end     = "id: 3\nevent: end\ndata: {\"tokens_out\":2}\n\n"
)

// serve answers every request with parts of a body, flushed one by one.
func serve(contentType string, parts ...string) *wire.Client {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("X-Agent", r.UserAgent())
		for _, part := range parts {
			_, err := w.Write([]byte(part))
			if err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}))
	DeferCleanup(server.Close)
	client := wire.NewClient(server.URL, nil)
	DeferCleanup(client.Close)
	return client
}

var _ = Describe("a stream", func() {
	It("is read as a client reads it, and kept byte by byte", SpecTimeout(10*time.Second), func(ctx SpecContext) {
		stream, err := api.Execute(ctx, serve("text/event-stream", started, first, ": hello\n\n", second, end), api.Generate("a", 2))
		Expect(err).NotTo(HaveOccurred())
		Expect(stream).To(matchers.BeWellFormedSSE())
		Expect(string(stream.Raw())).To(Equal(started + first + ": hello\n\n" + second + end))
		generation, err := api.ReadGeneration(stream)
		Expect(err).NotTo(HaveOccurred())
		Expect(generation.Text()).To(Equal("ab"))
		Expect(generation.IDs()).To(matchers.MatchTokens([]int32{5, 6}))
		Expect(stream.Header.Get("X-Agent")).To(HavePrefix("Go-http-client/"), "nothing in a request names the harness")
		Expect(stream.Exchange().Events).To(HaveLen(4))
	})

	DescribeTable("is not well-formed",
		func(ctx SpecContext, problem, contentType string, parts ...string) {
			stream, err := api.Execute(ctx, serve(contentType, parts...), api.Generate("a", 2))
			Expect(err).NotTo(HaveOccurred())
			Expect(api.StreamProblem(stream)).To(ContainSubstring(problem))
			matcher := matchers.BeWellFormedSSE()
			Expect(matcher.Match(stream)).To(BeFalse())
			Expect(matcher.FailureMessage(stream)).To(ContainSubstring(problem))
		},
		Entry("as JSON", SpecTimeout(10*time.Second), "want 200 text/event-stream", "application/json", "{}"),
		Entry("without started", SpecTimeout(10*time.Second), `event 0 (token) has the id "1"`, "text/event-stream", first, second, end),
		Entry("without an end", SpecTimeout(10*time.Second), "without \"end\"", "text/event-stream", started, first, second),
		Entry("with two ends", SpecTimeout(10*time.Second), "after the terminal event", "text/event-stream", started, first, second, end, "id: 4\nevent: end\ndata: {}\n\n"),
		Entry("with a gap in i", SpecTimeout(10*time.Second), "i = 1, want 0", "text/event-stream", started, "id: 1\nevent: token\ndata: {\"i\":1,\"t\":\"b\",\"id\":6}\n\n"),
		Entry("with half a character", SpecTimeout(10*time.Second), "not UTF-8", "text/event-stream", started, "id: 1\nevent: token\ndata: {\"i\":0,\"t\":\"\xe6\",\"id\":6}\n\n", end),
		Entry("with a stray newline", SpecTimeout(10*time.Second), "no field of an event stream", "text/event-stream", started, "id: 1\nevent: token\ndata: {\"i\":0,\n\"t\":\"b\",\"id\":6}\n\n", end),
		Entry("with an unknown event", SpecTimeout(10*time.Second), "unknown type", "text/event-stream", started, "id: 1\nevent: tokens\ndata: {}\n\n"),
		Entry("with a second started", SpecTimeout(10*time.Second), "a second \"started\"", "text/event-stream", started, "id: 1\nevent: started\ndata: {}\n\n"),
		Entry("cut off", SpecTimeout(10*time.Second), "has no end", "text/event-stream", started, "id: 1\nevent: tok"),
		Entry("empty", SpecTimeout(10*time.Second), "after 0 events", "text/event-stream", ""),
	)

	It("names the error shape that is wrong", SpecTimeout(10*time.Second), func(ctx SpecContext) {
		for body, problem := range map[string]string{
			`{"code":"OTHER","message":"m","retriable":false,"correlation_id":"c"}`:    "the code is",
			`{"code":"NOT_FOUND","message":"","retriable":false,"correlation_id":"c"}`: "message is empty",
			`{"code":"NOT_FOUND","message":"m","correlation_id":"c"}`:                  "retriable",
			`{"code":"NOT_FOUND","message":"m","retriable":false}`:                     "correlation_id",
			`<html>`: "not the JSON wanted",
		} {
			response, err := serve("application/json", body).Do(ctx, wire.Get("/"))
			Expect(err).NotTo(HaveOccurred())
			matcher := matchers.HaveErrorCode(http.StatusOK, "NOT_FOUND")
			Expect(matcher.Match(response)).To(BeFalse(), body)
			Expect(matcher.FailureMessage(response)).To(ContainSubstring(problem), fmt.Sprint(body))
		}
	})
})
