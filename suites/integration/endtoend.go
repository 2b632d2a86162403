package integration

import (
	"fmt"
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// HTTP-FFI-CUDA end to end.
func registerEndToEnd(subject func() *target.Target) {
	Describe("tokenizer", requirement.Claim("tokenizer.round-trip"), func() {
		It("makes text of tokens and tokens of text", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			for _, prompt := range prompts {
				var tokenized struct {
					Tokens []api.Piece `json:"tokens"`
				}
				post(ctx, client, "/tokenize", api.Fields{"text": prompt}, &tokenized)
				Expect(tokenized.Tokens).NotTo(BeEmpty())
				var back struct {
					Text string `json:"text"`
				}
				post(ctx, client, "/detokenize", api.Fields{"ids": api.PieceIDs(tokenized.Tokens)}, &back)
				Expect(back.Text).To(Equal(prompt))
				generation := generate(ctx, client, api.Generate(prompt, 1))
				Expect(generation.Started.PromptTokens).To(Equal(len(tokenized.Tokens)), "tokens of %q", prompt)
			}
			evidence.Observe("prompts there and back", len(prompts), "")
		})
	})

	Describe("cancel", requirement.Claim("cancel.ends-job"), func() {
		It("ends a job when it is cancelled", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			fields := subject().LongJob(ctx)
			var times []float64
			best := time.Hour
			for attempt := 0; attempt < 5 && best > releaseWithin; attempt++ {
				job := fields.With("job_id", api.NewJobID())
				stream, err := client.Open(ctx, wire.Post("/execute", job))
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(stream.Close)
				_, err = api.Await(stream, "token")
				Expect(err).NotTo(HaveOccurred())
				asked := time.Now()
				response, err := client.Do(ctx, wire.Post("/cancel", api.Fields{"job_id": job.JobID()}))
				Expect(err).NotTo(HaveOccurred())
				Expect(response.Status).To(Equal(http.StatusAccepted))
				Expect(stream.Drain()).To(Succeed())
				took := time.Since(asked)
				best = min(best, took)
				times = append(times, float64(took.Microseconds())/1000)
				generation, err := api.ReadGeneration(stream)
				Expect(err).NotTo(HaveOccurred())
				Expect(stream).To(matchers.BeWellFormedSSE())
				Expect(generation.Failure).NotTo(BeNil(), "the job ran to its end although it was cancelled")
				Expect(generation.Failure.Code).To(Equal("CANCELLED"))
				again, err := client.Do(ctx, wire.Post("/cancel", api.Fields{"job_id": job.JobID()}))
				Expect(err).NotTo(HaveOccurred())
				Expect(again.Status).To(Equal(http.StatusAccepted), "cancel is idempotent")
				evidence.Transcript("cancelled", stream.Exchange())
			}
			evidence.Observe("time from cancel to the end of the stream", times, "ms")
			Expect(best).To(BeNumerically("<=", releaseWithin))
		})
	})

	Describe("disconnect", requirement.Claim("disconnect.ends-job"), func() {
		It("ends a job when its client goes away", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			fields := subject().LongJob(ctx)
			whole := len(generate(ctx, client, fields).Tokens)
			var times []float64
			best := time.Hour
			for attempt := 0; attempt < 5 && best > releaseWithin; attempt++ {
				job := fields.With("job_id", api.NewJobID())
				stream, err := client.Open(ctx, wire.Post("/execute", job))
				Expect(err).NotTo(HaveOccurred())
				_, err = api.Await(stream, "token")
				Expect(err).NotTo(HaveOccurred())
				gone := time.Now()
				stream.Close()
				Eventually(ctx, func(g Gomega) {
					response, err := client.Do(ctx, wire.Get("/health"))
					g.Expect(err).NotTo(HaveOccurred())
					var health api.Health
					g.Expect(response.JSON(&health)).To(Succeed())
					g.Expect(health.JobsRunning).To(HaveValue(BeZero()))
				}).WithPolling(2 * time.Millisecond).WithTimeout(endDelay).Should(Succeed())
				took := time.Since(gone)
				best = min(best, took)
				times = append(times, float64(took.Microseconds())/1000)

				// The job's own record says why it ended, whatever the clock said.
				replay, err := client.Open(ctx, wire.Get("/jobs/"+job.JobID()+"/events"))
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(replay.Close)
				Expect(replay.Drain()).To(Succeed())
				generation, err := api.ReadGeneration(replay)
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

func post(ctx SpecContext, client *wire.Client, path string, body, into any) {
	GinkgoHelper()
	response, err := client.Do(ctx, wire.Post(path, body))
	Expect(err).NotTo(HaveOccurred())
	Expect(response.Status).To(Equal(http.StatusOK), fmt.Sprintf("%s: %.300s", path, response.Body))
	Expect(response.JSON(into)).To(Succeed())
}
