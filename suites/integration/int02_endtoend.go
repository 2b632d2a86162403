package integration

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// INT-02 HTTP-FFI-CUDA end to end.
func registerEndToEnd(subject func() *target.Target) {
	Describe("all layers together", requirement.ID("INT-02"), func() {
		It("gives each prompt the same tokens alone and in company, and health answers meanwhile", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			request := func(i int) target.Fields {
				return target.Generate(prompts[i], 24).With("temperature", 0.8).With("seed", 100+i)
			}
			var alone []target.Generation
			for i := range prompts {
				alone = append(alone, generate(ctx, client, request(i)))
			}
			const copies = 3
			streams := make([]*target.Stream, copies*len(prompts))
			failures := make([]error, len(streams))
			var group sync.WaitGroup
			for i := range streams {
				group.Go(func() { streams[i], failures[i] = client.Execute(ctx, request(i%len(prompts))) })
			}
			healthy := 0
			for range 20 {
				response, err := client.Do(ctx, target.Get("/health"))
				Expect(err).NotTo(HaveOccurred())
				Expect(response.Status).To(Equal(http.StatusOK))
				healthy++
			}
			group.Wait()
			for i := range streams {
				Expect(failures[i]).NotTo(HaveOccurred())
				got, err := streams[i].Generation()
				Expect(err).NotTo(HaveOccurred())
				want := alone[i%len(prompts)]
				Expect(got.IDs()).To(matchers.MatchTokens(want.IDs()), "prompt %q in company", prompts[i%len(prompts)])
				Expect(got.Text()).To(Equal(want.Text()))
			}
			texts := map[string]string{}
			for i, generation := range alone {
				texts[prompts[i]] = generation.Text()
			}
			evidence.Observe("texts", texts, "")
			evidence.Observe("concurrent jobs", len(streams), "")
			evidence.Observe("health calls answered meanwhile", healthy, "")
		})

		It("makes text of tokens and tokens of text", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			for _, prompt := range prompts {
				var tokenized struct {
					Tokens []target.Piece `json:"tokens"`
				}
				post(ctx, client, "/tokenize", target.Fields{"text": prompt}, &tokenized)
				Expect(tokenized.Tokens).NotTo(BeEmpty())
				var back struct {
					Text string `json:"text"`
				}
				post(ctx, client, "/detokenize", target.Fields{"ids": target.PieceIDs(tokenized.Tokens)}, &back)
				Expect(back.Text).To(Equal(prompt))
				generation := generate(ctx, client, target.Generate(prompt, 1))
				Expect(generation.Started.PromptTokens).To(Equal(len(tokenized.Tokens)), "tokens of %q", prompt)
			}
			evidence.Observe("prompts there and back", len(prompts), "")
		})

		It("ends a job when it is cancelled", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			fields := subject().LongJob(ctx)
			var times []float64
			best := time.Hour
			for attempt := 0; attempt < 5 && best > releaseWithin; attempt++ {
				job := fields.With("job_id", target.NewJobID())
				stream, err := client.Open(ctx, target.Post("/execute", job))
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(stream.Close)
				_, err = stream.Await("token")
				Expect(err).NotTo(HaveOccurred())
				asked := time.Now()
				response, err := client.Do(ctx, target.Post("/cancel", target.Fields{"job_id": job.JobID()}))
				Expect(err).NotTo(HaveOccurred())
				Expect(response.Status).To(Equal(http.StatusAccepted))
				Expect(stream.Drain()).To(Succeed())
				took := time.Since(asked)
				best = min(best, took)
				times = append(times, float64(took.Microseconds())/1000)
				generation, err := stream.Generation()
				Expect(err).NotTo(HaveOccurred())
				Expect(stream).To(matchers.BeWellFormedSSE())
				Expect(generation.Failure).NotTo(BeNil(), "the job ran to its end although it was cancelled")
				Expect(generation.Failure.Code).To(Equal("CANCELLED"))
				again, err := client.Do(ctx, target.Post("/cancel", target.Fields{"job_id": job.JobID()}))
				Expect(err).NotTo(HaveOccurred())
				Expect(again.Status).To(Equal(http.StatusAccepted), "cancel is idempotent")
				evidence.Transcript("cancelled", stream.Exchange())
			}
			evidence.Observe("time from cancel to the end of the stream", times, "ms")
			Expect(best).To(BeNumerically("<=", releaseWithin))
		})

		It("ends a job when its client goes away", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			fields := subject().LongJob(ctx)
			whole := len(generate(ctx, client, fields).Tokens)
			var times []float64
			best := time.Hour
			for attempt := 0; attempt < 5 && best > releaseWithin; attempt++ {
				job := fields.With("job_id", target.NewJobID())
				stream, err := client.Open(ctx, target.Post("/execute", job))
				Expect(err).NotTo(HaveOccurred())
				_, err = stream.Await("token")
				Expect(err).NotTo(HaveOccurred())
				gone := time.Now()
				stream.Close()
				Eventually(ctx, func(g Gomega) {
					response, err := client.Do(ctx, target.Get("/health"))
					g.Expect(err).NotTo(HaveOccurred())
					var health target.Health
					g.Expect(response.JSON(&health)).To(Succeed())
					g.Expect(health.JobsRunning).To(HaveValue(BeZero()))
				}).WithPolling(2 * time.Millisecond).Should(Succeed())
				took := time.Since(gone)
				best = min(best, took)
				times = append(times, float64(took.Microseconds())/1000)

				// The job's own record says why it ended, whatever the clock said.
				replay, err := client.Open(ctx, target.Get("/jobs/"+job.JobID()+"/events"))
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(replay.Close)
				Expect(replay.Drain()).To(Succeed())
				generation, err := replay.Generation()
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("abandoned job", replay.Exchange())
				Expect(generation.Failure).NotTo(BeNil(), "the job ran on to its end (%d tokens) although its client had gone", len(generation.Tokens))
				Expect(generation.Failure.Code).To(Equal("CANCELLED"))
				Expect(len(generation.Tokens)).To(BeNumerically("<", whole))
			}
			evidence.Observe("time from disconnect to no running job", times, "ms")
			Expect(best).To(BeNumerically("<=", releaseWithin))
		})
	})
}

func post(ctx SpecContext, client *target.Client, path string, body, into any) {
	GinkgoHelper()
	response, err := client.Do(ctx, target.Post(path, body))
	Expect(err).NotTo(HaveOccurred())
	Expect(response.Status).To(Equal(http.StatusOK), fmt.Sprintf("%s: %.300s", path, response.Body))
	Expect(response.JSON(into)).To(Succeed())
}
