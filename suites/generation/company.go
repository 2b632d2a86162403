package generation

import (
	"net/http"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

func registerCompany(subject func() *target.Target, door doorway) {
	Describe("company", requirement.Claim("company.same-answer"), func() {
		It("changes no answer, and the worker answers other calls meanwhile", SpecTimeout(2*specTimeout), func(ctx SpecContext) {
			over, client := door()
			const maxTokens, copies = 24, 3
			request := func(i int) api.Request {
				return api.Greedy(prompts[i], maxTokens).Sampled(0.8, uint64(100+i))
			}
			alone := make([]api.Answer, len(prompts))
			for i := range prompts {
				alone[i] = whole(ctx, over, client, request(i))
			}
			streams := make([]*api.Stream, copies*len(prompts))
			failures := make([]error, len(streams))
			var group sync.WaitGroup
			for i := range streams {
				group.Go(func() {
					// Clients that know nothing of each other come over connections of their own.
					streams[i], failures[i] = over.Open(ctx, client, request(i%len(prompts)), map[string]string{"Connection": "close"})
					if failures[i] == nil {
						defer streams[i].Close()
						failures[i] = streams[i].Drain()
					}
				})
			}
			healthy := 0
			for range 20 {
				response, err := client.Do(ctx, over.Health())
				Expect(err).NotTo(HaveOccurred())
				Expect(response.Status).To(Equal(http.StatusOK))
				healthy++
			}
			group.Wait()
			texts := map[string]string{}
			for i, answer := range alone {
				texts[prompts[i]] = answer.Text()
			}
			evidence.Observe("texts", texts, "")
			evidence.Observe("concurrent requests", len(streams), "")
			evidence.Observe("other calls answered meanwhile", healthy, "")
			for i := range streams {
				Expect(failures[i]).NotTo(HaveOccurred())
				got, err := streams[i].Answer()
				Expect(err).NotTo(HaveOccurred())
				want := alone[i%len(prompts)]
				if over.Offers(api.TokenIDs) {
					Expect(got.Tokens).To(matchers.MatchTokens(want.Tokens), "prompt %q in company", prompts[i%len(prompts)])
				}
				Expect(got.Text()).To(Equal(want.Text()), "prompt %q in company", prompts[i%len(prompts)])
			}
		})
	})

	Describe("clients that go away", requirement.Claim("disconnect.serves-on"), func() {
		It("leave the worker to the others", SpecTimeout(specTimeout), func(ctx SpecContext) {
			over, client := door()
			long := subject().LongRequest(ctx, over)
			expected := whole(ctx, over, client, api.Greedy(rain, 8)).Text()
			const clients = 8
			for range clients {
				stream, err := over.Open(ctx, client, long, nil)
				Expect(err).NotTo(HaveOccurred())
				err = stream.AwaitText()
				stream.Close()
				Expect(err).NotTo(HaveOccurred())
			}
			Expect(whole(ctx, over, client, api.Greedy(rain, 8)).Text()).To(Equal(expected), "the answer after %d clients went away", clients)
			evidence.Observe("clients that went away in a stream", clients, "")
		})
	})
}
