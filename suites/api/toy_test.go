package api_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/api"
	"touchstone/suites/wire"
)

// toy is the adapter of an API that answers a GET with the words of its text, one an event.
type toy struct{}

func (toy) Name() string            { return "toy" }
func (toy) Offers(api.Feature) bool { return false }
func (toy) Health() wire.Call       { return wire.Get("/") }
func (toy) ReadyPaths() []string    { return []string{"/"} }

func (t toy) Open(ctx context.Context, client *wire.Client, r api.Request, _ map[string]string) (*api.Stream, error) {
	if r.Temperature != 0 {
		return nil, &api.NotOffered{API: t.Name(), Field: "temperature"}
	}
	stream, err := client.Open(ctx, wire.Get(fmt.Sprintf("/say?n=%d", r.MaxTokens)))
	if err != nil {
		return nil, err
	}
	return api.NewStream(stream, t), nil
}

func (t toy) Whole(ctx context.Context, client *wire.Client, r api.Request) (api.Answer, error) {
	stream, err := t.Open(ctx, client, r, nil)
	if err != nil {
		return api.Answer{}, err
	}
	defer stream.Close()
	return stream.Finished()
}

func (toy) HoldsText(event wire.Event) bool { return event.Type == "word" }

func (toy) Problem(stream *wire.Stream) string {
	if events := stream.Events(); len(events) == 0 || events[len(events)-1].Type != "end" {
		return "the stream has no end"
	}
	return ""
}

func (toy) Answer(stream *wire.Stream) (api.Answer, error) {
	var answer api.Answer
	for _, event := range stream.Events() {
		if event.Type == "word" {
			answer.Pieces = append(answer.Pieces, event.Data)
		}
	}
	count := len(answer.Pieces)
	answer.CompletionTokens, answer.Finish, answer.FinishWord = &count, api.AtLimit, "end"
	return answer, nil
}

var _ = Describe("an adapter for a toy API", func() {
	It("is one file, and is asked as any other", SpecTimeout(10*time.Second), func(ctx SpecContext) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			var n int
			_, _ = fmt.Sscan(r.URL.Query().Get("n"), &n)
			fmt.Fprint(w, strings.Repeat("event: word\ndata: rain\n\n", n), "event: end\ndata: .\n\n")
		}))
		DeferCleanup(server.Close)
		client := wire.NewClient(server.URL, nil)
		DeferCleanup(client.Close)
		var over api.API = toy{}
		answer, err := over.Whole(ctx, client, api.Greedy("a", 3))
		Expect(err).NotTo(HaveOccurred())
		Expect(answer.Text()).To(Equal("rainrainrain"))
		Expect(answer.CompletionTokens).To(HaveValue(Equal(3)))
		stream, err := over.Open(ctx, client, api.Greedy("a", 2), nil)
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(stream.Close)
		Expect(stream.AwaitText()).To(Succeed())
		Expect(stream.Drain()).To(Succeed())
		Expect(stream.Problem()).To(BeEmpty())
		_, err = over.Open(ctx, client, api.Greedy("a", 2).Sampled(1, 1), nil)
		Expect(err).To(MatchError("toy has no temperature"))
	})
})
