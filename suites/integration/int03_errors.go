package integration

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native/gguf"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// INT-03 Errors across layers. After every failure the next request must work.
func registerErrors(subject func() *target.Target) {
	Describe("errors across layers", requirement.ID("INT-03"), func() {
		It("HTTP layer: a bad request", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			response, err := client.Do(ctx, target.Post("/execute", target.Generate("a", 0)))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"))
			expectServing(ctx, client)
		})

		It("engine: a full queue answers at once, and says when to come again", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			_, client := start(ctx, subject(), subject().WithFlags("--max-jobs", "1", "--queue", "1"))
			fields := subject().LongJob(ctx).With("max_tokens", 300)
			const requests = 12
			streams := make([]*target.Stream, requests)
			failures := make([]error, requests)
			var group sync.WaitGroup
			for i := range requests {
				group.Go(func() { streams[i], failures[i] = client.Execute(ctx, fields.With("job_id", target.NewJobID())) })
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
			_, client := start(ctx, subject(), subject().WithFlags("--kv-cache-bytes", blockBytes))
			response, err := client.Do(ctx, target.Post("/execute", target.Generate("a", 200)))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusServiceUnavailable, "INSUFFICIENT_VRAM"))
			Expect(string(response.Body)).To(And(ContainSubstring("required"), ContainSubstring("available"), ContainSubstring(blockBytes)))
			expectServing(ctx, client)
		})

		It("engine: a job that takes too long ends in the stream", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			_, client := start(ctx, subject(), subject().WithFlags("--inference-timeout", "60ms"))
			stream, err := client.Execute(ctx, subject().LongJob(ctx))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("timeout", stream.Exchange())
			Expect(stream).To(matchers.BeWellFormedSSE())
			generation, err := stream.Generation()
			Expect(err).NotTo(HaveOccurred())
			Expect(generation.Failure).NotTo(BeNil(), "the job ended well in 60 ms?")
			expectFailure(*generation.Failure, "INFERENCE_TIMEOUT", true)
			expectServing(ctx, client)
		})

		It("native: logits that are no numbers end in the stream", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			if !subject().CommandTakes("{model}") {
				Skip("needs a command line with {model}")
			}
			worker, client := start(ctx, subject(), target.Launch{Model: damaged(subject(), poisonNorm)})
			for range 2 { // the next request gets the same clear answer: the worker lives
				stream, err := client.Execute(ctx, target.Generate("a", 4))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("damaged weights", stream.Exchange())
				Expect(stream).To(matchers.BeWellFormedSSE())
				generation, err := stream.Generation()
				Expect(err).NotTo(HaveOccurred())
				Expect(generation.Failure).NotTo(BeNil(), "a model whose weights are NaN generated %q", generation.Text())
				expectFailure(*generation.Failure, "INTERNAL", false)
				Expect(generation.Failure.Message).To(ContainSubstring("NaN"))
			}
			Expect(worker.Running()).To(BeTrue(), "the worker died:\n%s", worker.Log())
		})

		It("in the stream: a cancelled job", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP)
			client := subject().Client()
			fields := subject().LongJob(ctx)
			stream, err := client.Open(ctx, target.Post("/execute", fields))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stream.Close)
			_, err = stream.Await("token")
			Expect(err).NotTo(HaveOccurred())
			_, err = client.Do(ctx, target.Post("/cancel", target.Fields{"job_id": fields.JobID()}))
			Expect(err).NotTo(HaveOccurred())
			Expect(stream.Drain()).To(Succeed())
			generation, err := stream.Generation()
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("cancelled", stream.Exchange())
			Expect(generation.Failure).NotTo(BeNil(), "the stream has no error event")
			expectFailure(*generation.Failure, "CANCELLED", false)
			expectServing(ctx, client)
		})
	})
}

// RegisterRefusals adds the specs of INT-03 that hold in any dialect: what a worker's process must refuse to start with.
func RegisterRefusals(subject func() *target.Target) {
	Describe("errors at the start", requirement.ID("INT-03"), func() {
		DescribeTable("model file: a damaged one is refused with one line",
			func(ctx SpecContext, damage func([]byte, *gguf.File) []byte) {
				subject().Require(target.HTTP, target.Restart)
				if !subject().CommandTakes("{model}") {
					Skip("needs a command line with {model}")
				}
				path := damaged(subject(), damage)
				port, err := target.FreePort()
				Expect(err).NotTo(HaveOccurred())
				code, output, err := target.Run(ctx, subject().Launch(target.Launch{Model: path}), port)
				Expect(err).NotTo(HaveOccurred())
				evidence.Observe("exit code and output", map[string]any{"exit code": code, "output": output}, "")
				Expect(code).To(BeNumerically(">", 0), output)
				Expect(output).To(ContainSubstring(path), "the message names the file")
				Expect(output).NotTo(ContainSubstring("goroutine "), "a crash is no message")
			},
			Entry("cut short", SpecTimeout(specTimeout), func(text []byte, _ *gguf.File) []byte { return text[:len(text)/2] }),
			Entry("no model at all", SpecTimeout(specTimeout), func([]byte, *gguf.File) []byte { return []byte("this is a text") }),
			Entry("empty", SpecTimeout(specTimeout), func([]byte, *gguf.File) []byte { return nil }),
		)

		It("device: one that is not there is refused, never replaced", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			if !subject().CommandTakes("{device}") {
				Skip("needs a command line with {device}")
			}
			port, err := target.FreePort()
			Expect(err).NotTo(HaveOccurred())
			code, output, err := target.Run(ctx, subject().Launch(target.Launch{Device: "cuda:63"}), port)
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("exit code and output", map[string]any{"exit code": code, "output": output}, "")
			Expect(code).To(BeNumerically(">", 0), output)
			Expect(output).To(ContainSubstring("cuda:63"))
		})
	})
}

// expectServing expects the worker to do its work after a failure.
func expectServing(ctx SpecContext, client *target.Client) {
	GinkgoHelper()
	generation := generate(ctx, client, target.Generate("a", 2))
	evidence.Observe("tokens of the next request", len(generation.Tokens), "")
}

func expectFailure(failure target.Failure, code string, retriable bool) {
	GinkgoHelper()
	Expect(failure.Code).To(Equal(code))
	Expect(len(failure.Message)).To(BeNumerically(">", 10), "the message says what happened: %q", failure.Message)
	Expect(failure.Retriable).To(HaveValue(Equal(retriable)), "retriable")
}

func decode(body []byte) target.Failure {
	GinkgoHelper()
	var failure target.Failure
	Expect(json.Unmarshal(body, &failure)).To(Succeed(), "%s", body)
	return failure
}

// damaged writes a spoiled copy of the model and returns its path.
func damaged(subject *target.Target, damage func([]byte, *gguf.File) []byte) string {
	GinkgoHelper()
	text, err := os.ReadFile(subject.Config.Model)
	Expect(err).NotTo(HaveOccurred())
	file, err := gguf.Parse(bytes.Clone(text))
	Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(GinkgoT().TempDir(), "damaged.gguf")
	Expect(os.WriteFile(path, damage(text, file), 0o600)).To(Succeed())
	return path
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
