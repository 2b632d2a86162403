package integration

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"sync"
	"touchstone/suites/internal/damaged"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native/gguf"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/process"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// Errors across layers. After every failure the next request must work.
func registerErrors(subject func() *target.Target) {
	Describe("errors of requests", requirement.Claim("errors.request"), func() {
		It("HTTP layer: a bad request", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			response, err := client.Do(ctx, wire.Post("/execute", api.Generate("a", 0)))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"))
			expectServing(ctx, client)
		})
	})

	Describe("errors of the engine", requirement.Claim("errors.engine"), func() {
		It("engine: a full queue answers at once, and says when to come again", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			_, client := start(ctx, subject(), subject().With(map[string]string{"max-jobs": "1", "queue": "1"}))
			fields := subject().LongJob(ctx).With("max_tokens", 300)
			const requests = 12
			streams := make([]*wire.Stream, requests)
			failures := make([]error, requests)
			var group sync.WaitGroup
			for i := range requests {
				group.Go(func() { streams[i], failures[i] = api.Execute(ctx, client, fields.With("job_id", api.NewJobID())) })
			}
			group.Wait()
			overloaded, served := 0, 0
			for i, stream := range streams {
				Expect(failures[i]).NotTo(HaveOccurred())
				if stream.IsEventStream() {
					served++
					continue
				}
				overloaded++
				evidence.Transcript("refusal", stream.Exchange())
				Expect(stream.Status).To(Equal(http.StatusServiceUnavailable))
				Expect(stream.Header.Get("Retry-After")).NotTo(BeEmpty())
				expectFailure(decode(stream.Raw()), "OVERLOADED", true)
			}
			Expect(served).To(BeNumerically(">", 0))
			Expect(overloaded).To(BeNumerically(">", 0), "%d jobs at once and none was refused", requests)
			expectServing(ctx, client)
		})

		It("engine: a job larger than the KV cache tells both sizes", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			blockBytes := kvBlockBytes(subject())
			_, client := start(ctx, subject(), subject().With(map[string]string{"kv-cache-bytes": blockBytes}))
			response, err := client.Do(ctx, wire.Post("/execute", api.Generate("a", 200)))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusServiceUnavailable, "INSUFFICIENT_VRAM"))
			Expect(string(response.Body)).To(And(ContainSubstring("required"), ContainSubstring("available"), ContainSubstring(blockBytes)))
			expectServing(ctx, client)
		})

		It("engine: a job that takes too long ends in the stream", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			_, client := start(ctx, subject(), subject().With(map[string]string{"inference-timeout": "60ms"}))
			stream, err := api.Execute(ctx, client, subject().LongJob(ctx))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("timeout", stream.Exchange())
			Expect(stream).To(matchers.BeWellFormedSSE())
			generation, err := api.ReadGeneration(stream)
			Expect(err).NotTo(HaveOccurred())
			Expect(generation.Failure).NotTo(BeNil(), "the job ended well in 60 ms?")
			expectFailure(*generation.Failure, "INFERENCE_TIMEOUT", true)
			expectServing(ctx, client)
		})
	})

	Describe("errors of the native layer", requirement.Claim("errors.native"), func() {
		It("native: logits that are no numbers end in the stream", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			if !subject().CommandTakes("{model}") {
				Skip("needs a command line with {model}")
			}
			worker, client := start(ctx, subject(), process.Launch{Model: damaged.File(subject().Profile.Model, poisonNorm)})
			for range 2 { // the next request gets the same clear answer: the worker lives
				stream, err := api.Execute(ctx, client, api.Generate("a", 4))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("damaged weights", stream.Exchange())
				Expect(stream).To(matchers.BeWellFormedSSE())
				generation, err := api.ReadGeneration(stream)
				Expect(err).NotTo(HaveOccurred())
				Expect(generation.Failure).NotTo(BeNil(), "a model whose weights are NaN generated %q", generation.Text())
				expectFailure(*generation.Failure, "INTERNAL", false)
				Expect(generation.Failure.Message).To(ContainSubstring("NaN"))
			}
			Expect(worker.Running()).To(BeTrue(), "the worker died:\n%s", worker.Log())
		})
	})

	Describe("errors in a stream", requirement.Claim("errors.stream"), func() {
		It("in the stream: a cancelled job", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			fields := subject().LongJob(ctx)
			stream, err := client.Open(ctx, wire.Post("/execute", fields))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stream.Close)
			_, err = api.Await(stream, "token")
			Expect(err).NotTo(HaveOccurred())
			_, err = client.Do(ctx, wire.Post("/cancel", api.Fields{"job_id": fields.JobID()}))
			Expect(err).NotTo(HaveOccurred())
			Expect(stream.Drain()).To(Succeed())
			generation, err := api.ReadGeneration(stream)
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("cancelled", stream.Exchange())
			Expect(generation.Failure).NotTo(BeNil(), "the stream has no error event")
			expectFailure(*generation.Failure, "CANCELLED", false)
			expectServing(ctx, client)
		})
	})
}

// expectServing expects the worker to do its work after a failure.
func expectServing(ctx SpecContext, client *wire.Client) {
	GinkgoHelper()
	generation := generate(ctx, client, api.Generate("a", 2))
	evidence.Observe("tokens of the next request", len(generation.Tokens), "")
}

func expectFailure(failure api.Failure, code string, retriable bool) {
	GinkgoHelper()
	Expect(failure.Code).To(Equal(code))
	Expect(len(failure.Message)).To(BeNumerically(">", 10), "the message says what happened: %q", failure.Message)
	Expect(failure.Retriable).To(HaveValue(Equal(retriable)), "retriable")
}

func decode(body []byte) api.Failure {
	GinkgoHelper()
	var failure api.Failure
	Expect(json.Unmarshal(body, &failure)).To(Succeed(), "%s", body)
	return failure
}

// poisonNorm replaces the weights of the last norm with NaN.
func poisonNorm(text []byte, file *gguf.File) []byte {
	GinkgoHelper()
	tensor, found := file.Tensor("output_norm.weight")
	Expect(found).To(BeTrue(), "the model has no output_norm.weight")
	for at := tensor.Offset; at+4 <= tensor.Offset+tensor.Bytes; at += 4 {
		binary.LittleEndian.PutUint32(text[at:], math.Float32bits(float32(math.NaN())))
	}
	return text
}
