package httpapi

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/internal/planted"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// healthFields are the documented fields with the JSON type of each.
var healthFields = []struct{ name, kind string }{
	{"status", "string"}, {"worker_id", "string"}, {"model", "string"}, {"architecture", "string"}, {"quant_kind", "string"},
	{"resident", "boolean"}, {"device", "string"}, {"vram_bytes_used", "number"}, {"vram_bytes_total", "number"},
	{"tokenizer_kind", "string"}, {"vocab_size", "number"}, {"context_length", "number"}, {"uptime_seconds", "number"},
	{"jobs_running", "number"}, {"jobs_waiting", "number"},
}

// Health endpoint.
func registerHealth(subject func() *target.Target) {
	Describe("health fields", requirement.Claim("health.fields"), func() {
		It("has every documented field with its type", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			response, err := client.Do(ctx, wire.Get("/health"))
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
	})

	Describe("health of this worker", requirement.Claim("health.truth"), func() {
		It("agrees with what the harness knows", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			answer := health(ctx, client)
			_, generation := execute(ctx, client, api.Generate(rain, 2))
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

		It("names the device that the system sees it use", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			named := health(ctx, client).Device
			onCard, seen := subject().OnCard()
			if !seen {
				evidence.NotRun("device, by the system's word", "needs a worker on this machine, of this user")
				return
			}
			evidence.Observe("device, and whether a card is open", map[string]any{"named": named, "card": onCard}, "")
			Expect(cards.MatchString(named)).To(Equal(onCard), "the device is named %s, and whether the worker has a card open is %v", matchers.JSON(named), onCard)
		})

		It("shows a running job and no less memory", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := subject().LongJob(ctx)
			least := heldAtLeast(subject())
			var idle, during uint64
			running := false
			for attempt := 0; attempt < 5 && during < idle+least; attempt++ { // a job may end between its tokens and the call
				Eventually(ctx, func() int { return *health(ctx, client).JobsRunning }).WithTimeout(5*time.Second).
					Should(BeZero(), "jobs_running of an idle worker")
				idle = *health(ctx, client).VRAMBytesUsed
				stream, err := client.Open(ctx, wire.Post("/execute", fields.With("job_id", api.NewJobID())))
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(stream.Close)
				for range heldTokens {
					_, err = api.Await(stream, "token")
					Expect(err).NotTo(HaveOccurred())
				}
				during = 0
				for now := health(ctx, client); *now.JobsRunning > 0 && during < idle+least; now = health(ctx, client) {
					running = true
					during = max(during, *now.VRAMBytesUsed)
				}
				Expect(stream.Drain()).To(Succeed())
			}
			Expect(running).To(BeTrue(), "jobs_running stays 0 while a job streams")
			Expect(during).To(BeNumerically(">=", idle+least),
				"the memory of a running job, which holds at least %d bytes for its %d tokens", least, heldTokens)
			Eventually(ctx, func() uint64 { return *health(ctx, client).VRAMBytesUsed }).WithTimeout(5*time.Second).
				Should(BeNumerically("<=", during-least), "the memory after the job: what it held is given back")
			evidence.Observe("memory idle", idle, "bytes")
			evidence.Observe("memory with a job", during, "bytes")
		})
	})

	Describe("health of a worker that lost its memory", requirement.Claim("health.residency"), func() {
		It("says so when memory is no longer where it must be", SpecTimeout(buildTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart, target.Native, target.Compiler)
			file := filepath.Join(GinkgoT().TempDir(), "plant")
			library := planted.Library(ctx, subject(), planted.Once(file))
			worker, err := subject().Start(ctx, subject().With(map[string]string{"native-lib": library, "residency-interval": "100ms"}))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := subject().ClientOf(worker)
			DeferCleanup(client.Close)
			Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
			Eventually(ctx, func(g Gomega) {
				response, err := client.Do(ctx, wire.Get("/health"))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(response.Status).To(Equal(http.StatusServiceUnavailable))
				var answer api.Health
				g.Expect(response.JSON(&answer)).To(Succeed())
				g.Expect(answer.Status).To(Equal("unhealthy"))
				g.Expect(answer.Resident).To(HaveValue(BeFalse()))
				evidence.Transcript("unhealthy", response.Exchange())
			}).WithTimeout(5 * time.Second).Should(Succeed())
		})
	})
}

// cards are names of devices of a card's.
var cards = regexp.MustCompile(`(?i)cuda|nvidia|gpu|\b[ahb][0-9]{2,3}\b`)

// heldTokens is how many tokens a job has made, at least, when its memory is looked at.
const heldTokens = 8

// heldAtLeast is what heldTokens hold in the KV cache, if an element takes no less than half a byte; 1 where the model is not known.
func heldAtLeast(subject *target.Target) uint64 {
	GinkgoHelper()
	if !subject.Has(target.Restart) {
		return 1
	}
	facts, err := subject.ModelFacts()
	Expect(err).NotTo(HaveOccurred())
	return heldTokens * facts.KVElements / 2
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
