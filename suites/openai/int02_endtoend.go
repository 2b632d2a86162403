package openai

import (
	"net/http"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/target"
)

// INT-02 HTTP, FFI and CUDA end to end.
func registerEndToEnd(subject func() *target.Target) {
	notOffered("INT-02", "makes text of tokens and tokens of text", "has no tokenizer endpoint")
	notOffered("INT-02", "frees the cache of a cancelled or abandoned job within 100 ms", "has no cancel and does not tell when a job ends")
	Describe("all layers together", requirement.ID("INT-02"), func() {
		It("gives each prompt the same text alone and in company, and answers other calls meanwhile", SpecTimeout(2*specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			const maxTokens, copies = 16, 3
			alone := map[string]string{}
			for _, prompt := range prompts {
				_, completion := streamed(ctx, client, subject().Completion(prompt, maxTokens))
				alone[prompt] = completion.Text()
			}
			streams := make([]*target.Stream, copies*len(prompts))
			failures := make([]error, len(streams))
			var group sync.WaitGroup
			for i := range streams {
				fields := subject().Completion(prompts[i%len(prompts)], maxTokens).Streamed()
				group.Go(func() {
					if streams[i], failures[i] = client.Open(ctx, apart(target.Post(completions, fields))); failures[i] == nil {
						defer streams[i].Close()
						failures[i] = streams[i].Drain()
					}
				})
			}
			for range 20 {
				response, err := client.Do(ctx, target.Get("/v1/models"))
				Expect(err).NotTo(HaveOccurred())
				Expect(response.Status).To(Equal(http.StatusOK))
			}
			group.Wait()
			evidence.Observe("texts", alone, "")
			evidence.Observe("concurrent requests", len(streams), "")
			for i := range streams {
				Expect(failures[i]).NotTo(HaveOccurred())
				completion, err := streams[i].Completion()
				Expect(err).NotTo(HaveOccurred())
				Expect(completion.Text()).To(Equal(alone[prompts[i%len(prompts)]]), "prompt %q in company", prompts[i%len(prompts)])
			}
		})

		It("serves on after clients that went away", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields, _ := longest(ctx, subject())
			expected := whole(ctx, client, subject().Completion(rain, 8)).Text()
			const clients = 8
			for range clients {
				stream, err := client.Open(ctx, target.Post(completions, fields.Streamed()))
				Expect(err).NotTo(HaveOccurred())
				_, err = stream.Next()
				stream.Close()
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(whole(ctx, client, subject().Completion(rain, 8)).Text()).To(Equal(expected), "the answer after %d clients went away", clients)
			evidence.Observe("clients that went away in a stream", clients, "")
		})
	})
}
