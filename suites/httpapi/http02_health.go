package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/planted"
	"touchstone/suites/target"
)

// healthFields are the documented fields with the JSON type of each.
var healthFields = []struct{ name, kind string }{
	{"status", "string"}, {"worker_id", "string"}, {"model", "string"}, {"architecture", "string"}, {"quant_kind", "string"},
	{"resident", "boolean"}, {"device", "string"}, {"vram_bytes_used", "number"}, {"vram_bytes_total", "number"},
	{"tokenizer_kind", "string"}, {"vocab_size", "number"}, {"context_length", "number"}, {"uptime_seconds", "number"},
	{"jobs_running", "number"}, {"jobs_waiting", "number"},
}

// maxHealthP99 is the 99th percentile that a health call may take while a job decodes.
const maxHealthP99 = 10 * time.Millisecond

// HTTP-02 Health endpoint.
func registerHealth(subject func() *target.Target) {
	Describe("health endpoint", requirement.ID("HTTP-02"), func() {
		It("has every documented field with its type", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			response, err := client.Do(ctx, target.Get("/health"))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("health", response.Exchange())
			Expect(response.Status).To(Equal(http.StatusOK))
			Expect(response.Header.Get("Content-Type")).To(HavePrefix("application/json"))
			var fields map[string]any
			Expect(response.JSON(&fields)).To(Succeed())
			for _, field := range healthFields {
				Expect(fields).To(HaveKey(field.name))
				Expect(jsonKind(fields[field.name])).To(Equal(field.kind), "the type of %s", field.name)
				if field.kind == "string" {
					Expect(fields[field.name]).NotTo(BeEmpty(), field.name)
				}
			}
			Expect(fields["status"]).To(Equal("healthy"))
		})

		It("agrees with what the harness knows", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			answer := health(ctx, client)
			_, generation := execute(ctx, client, target.Generate(rain, 2))
			Expect(generation.Started).NotTo(BeNil())
			Expect(answer.Model).To(Equal(generation.Started.Model), "model in /health and in the started event")
			Expect(*answer.VRAMBytesUsed).To(And(BeNumerically(">", 0), BeNumerically("<=", *answer.VRAMBytesTotal)))
			Expect(*answer.Resident).To(BeTrue())
			if subject().Has(target.Restart) {
				known, err := subject().ModelFacts()
				Expect(err).NotTo(HaveOccurred())
				Expect(strings.ToLower(answer.Model)).To(ContainSubstring(strings.ToLower(known.Name)), "the model's name")
				Expect(answer.Architecture).To(Equal(known.Architecture))
				Expect(*answer.VocabSize).To(Equal(known.VocabSize))
				Expect(*answer.ContextLength).To(BeNumerically("<=", known.ContextLength))
				Expect(*answer.VRAMBytesUsed).To(BeNumerically(">=", known.TensorBytes/2), "memory that holds the weights")
				Expect(strings.ToLower(answer.Device)).NotTo(BeEmpty())
				evidence.Observe("model file", known, "")
			}
			evidence.Observe("health", answer, "")
		})

		It("shows a running job and no less memory", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := subject().LongJob(ctx)
			idle := health(ctx, client)
			var during target.Health
			seen := false
			for attempt := 0; attempt < 5 && !seen; attempt++ { // a job may end between its token and the call
				stream, err := client.Open(ctx, target.Post("/execute", fields.With("job_id", target.NewJobID())))
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(stream.Close)
				_, err = stream.Await("token")
				Expect(err).NotTo(HaveOccurred())
				during = health(ctx, client)
				seen = *during.JobsRunning > 0
				Expect(stream.Drain()).To(Succeed())
			}
			Expect(seen).To(BeTrue(), "jobs_running stays 0 while a job streams")
			Expect(*during.VRAMBytesUsed).To(BeNumerically(">=", *idle.VRAMBytesUsed))
			evidence.Observe("memory idle", *idle.VRAMBytesUsed, "bytes")
			evidence.Observe("memory with a job", *during.VRAMBytesUsed, "bytes")
		})

		It("says so when memory is no longer where it must be", SpecTimeout(buildTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart, target.Native)
			file := filepath.Join(GinkgoT().TempDir(), "plant")
			library := planted.Library(ctx, subject(), planted.Once(file))
			worker, err := subject().Start(ctx, subject().WithFlags("--native-lib", library, "--residency-interval", "100ms"))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := target.NewClient(worker.URL)
			DeferCleanup(client.Close)
			Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
			Eventually(ctx, func(g Gomega) {
				response, err := client.Do(ctx, target.Get("/health"))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(response.Status).To(Equal(http.StatusServiceUnavailable))
				var answer target.Health
				g.Expect(response.JSON(&answer)).To(Succeed())
				g.Expect(answer.Status).To(Equal("unhealthy"))
				g.Expect(answer.Resident).To(HaveValue(BeFalse()))
				evidence.Transcript("unhealthy", response.Exchange())
			}).WithTimeout(5 * time.Second).Should(Succeed())
		})

		// A blocked health call is slow in every window; a busy machine is not. So the best of a few windows counts.
		It("answers within 10 ms at the 99th percentile while a job decodes", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			const windows, calls, enough = 20, 100, 64
			stop, generated := keepBusy(ctx, client, subject().LongJob(ctx))
			defer stop()
			var p99s []float64
			best := time.Hour
			for range windows {
				times := make([]time.Duration, calls)
				for i := range times {
					response, err := client.Do(ctx, target.Get("/health"))
					Expect(err).NotTo(HaveOccurred())
					Expect(response.Status).To(Equal(http.StatusOK))
					times[i] = response.Elapsed
				}
				slices.Sort(times)
				p99 := times[calls*99/100-1]
				p99s = append(p99s, float64(p99.Microseconds())/1000)
				best = min(best, p99)
				if best <= maxHealthP99 && generated.Load() >= enough {
					break
				}
			}
			stop()
			evidence.Observe("p99 of health while decoding, by window", p99s, "ms")
			evidence.Observe("tokens decoded meanwhile", generated.Load(), "")
			Expect(generated.Load()).To(BeNumerically(">=", enough), "hardly a token was decoded meanwhile: the check saw an idle worker")
			Expect(best).To(BeNumerically("<=", maxHealthP99))
		})
	})
}

// keepBusy runs a job over and over until stop is called, and counts the tokens that it generates.
func keepBusy(ctx context.Context, client *target.Client, fields target.Fields) (stop func(), tokens *atomic.Int64) {
	ctx, cancel := context.WithCancel(ctx)
	tokens = new(atomic.Int64)
	started := make(chan struct{})
	var once sync.Once
	var group sync.WaitGroup
	group.Go(func() {
		defer once.Do(func() { close(started) }) // also if no job could be started
		for ctx.Err() == nil {
			stream, err := client.Open(ctx, target.Post("/execute", fields.With("job_id", target.NewJobID())))
			if err != nil {
				return
			}
			for {
				event, err := stream.Next()
				if err != nil {
					break
				}
				if event.Type == "token" {
					tokens.Add(1)
					once.Do(func() { close(started) })
				}
			}
			stream.Close()
			once.Do(func() { close(started) }) // a job without tokens: whoever waits shall see that
		}
	})
	<-started
	return func() {
		cancel()
		group.Wait()
	}, tokens
}

func jsonKind(value any) string {
	switch value.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case float64, json.Number:
		return "number"
	case nil:
		return "null"
	case []any:
		return "array"
	}
	return "object"
}
