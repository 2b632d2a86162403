package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// omitted stands for a field that is not sent.
type omitted struct{}

// boundaries tries every field below, at and above each of its limits, and with what it is not.
var boundaries = []struct {
	field    string
	accepted []any
	refused  []any
}{
	{"job_id", []any{"j", strings.Repeat("j", 128)}, []any{"", strings.Repeat("j", 129), 7, nil, omitted{}, []string{"j"}}},
	{"prompt", []any{"a"}, []any{"", strings.Repeat("a", 32769), 7, nil, omitted{}, map[string]any{}}},
	{"max_tokens", []any{1, 2, omitted{}}, []any{0, -1, 1<<24 + 1, 1.5, "1", nil, true, 1e30}},
	{"temperature", []any{0, 0.0001, 2, 2.0, omitted{}}, []any{-0.0001, 2.0001, "1", nil, 1e300}},
	{"top_p", []any{0, 0.5, 1, omitted{}}, []any{-0.0001, 1.0001, "1", nil}},
	{"top_k", []any{0, 1, omitted{}}, []any{-1, 1 << 40, 1.5, "1", nil}},
	{"min_p", []any{0, 0.5, 1, omitted{}}, []any{-0.0001, 1.0001, "0", nil}},
	{"repetition_penalty", []any{0.0001, 1, 2, omitted{}}, []any{0, -1, 2.0001, "1", nil}},
	{"stop", []any{[]string{}, []string{"a", "b", "c", "d"}, omitted{}}, []any{[]string{"a", "b", "c", "d", "e"}, "a", []any{1}, []string{""}, nil, []string{strings.Repeat("many different words ", 60)}}},
	{"seed", []any{0, uint64(18446744073709551615), omitted{}}, []any{-1, 1.5, "1", nil, 1e30}},
	{"logprobs", []any{0, 20, omitted{}}, []any{-1, 21, 1.5, "1", nil}},
	{"no_such_field", []any{omitted{}}, []any{1, nil}},
}

// Request validation.
func registerValidation(subject func() *target.Target) {
	Describe("limits of fields", requirement.Claim("validation.limits"), func() {
		for _, boundary := range boundaries {
			It("keeps the limits of "+boundary.field, SpecTimeout(specTimeout), func(ctx SpecContext) {
				client := httpClient(subject)
				for _, value := range boundary.accepted {
					fields := withValue(api.Generate("a", 1), boundary.field, value)
					stream, err := api.Execute(ctx, client, fields)
					Expect(err).NotTo(HaveOccurred())
					Expect(stream.IsEventStream()).To(BeTrue(), "%s = %s should be accepted, got %d %.300s", boundary.field, matchers.JSON(value), stream.Status, stream.Raw())
				}
				for _, value := range boundary.refused {
					response, err := client.Do(ctx, wire.Post("/execute", withValue(api.Generate("a", 1), boundary.field, value)))
					Expect(err).NotTo(HaveOccurred())
					Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"), "%s = %s should be refused", boundary.field, matchers.JSON(value))
					Expect(fieldNames(response)).To(ContainElement(HavePrefix(boundary.field)), "%s = %s: the refusal should name the field: %s", boundary.field, matchers.JSON(value), response.Body)
				}
				evidence.Observe("values tried", map[string]int{"accepted": len(boundary.accepted), "refused": len(boundary.refused)}, "")
			})
		}
	})

	Describe("refusals", requirement.Claim("validation.all-fields"), func() {
		It("lists all bad fields at once", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			response, err := client.Do(ctx, wire.Post("/execute", api.Fields{
				"job_id": "", "prompt": "", "max_tokens": 0, "temperature": 3, "top_p": 2, "min_p": -1, "logprobs": 21,
			}))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("refusal", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"))
			Expect(fieldNames(response)).To(ContainElements("job_id", "prompt", "max_tokens", "temperature", "top_p", "min_p", "logprobs"))
			var failure api.Failure
			Expect(response.JSON(&failure)).To(Succeed())
			for _, field := range failure.Errors {
				Expect(field.Constraint).NotTo(BeEmpty(), "the constraint of %s", field.Field)
				Expect(field.Message).NotTo(BeEmpty(), "the message of %s", field.Field)
			}
		})
	})

	Describe("what is no request", requirement.Claim("validation.malformed"), func() {
		DescribeTable("refuses what is no request",
			func(ctx SpecContext, call wire.Call, status int) {
				client := httpClient(subject)
				response, err := client.Do(ctx, call)
				Expect(err).NotTo(HaveOccurred())
				evidence.Observe("status and body", fmt.Sprintf("%d %.300s", response.Status, response.Body), "")
				Expect(response).To(matchers.HaveErrorCode(status, "INVALID_REQUEST"))
			},
			Entry("malformed JSON", SpecTimeout(specTimeout), wire.Post("/execute", `{"job_id": `), http.StatusBadRequest),
			Entry("an empty body", SpecTimeout(specTimeout), wire.Post("/execute", ""), http.StatusBadRequest),
			Entry("an array", SpecTimeout(specTimeout), wire.Post("/execute", "[]"), http.StatusBadRequest),
			Entry("null", SpecTimeout(specTimeout), wire.Post("/execute", "null"), http.StatusBadRequest),
			Entry("something after the object", SpecTimeout(specTimeout), wire.Post("/execute", `{"job_id":"a","prompt":"a","max_tokens":1} {}`), http.StatusBadRequest),
			Entry("a field given twice", SpecTimeout(specTimeout), wire.Post("/execute", `{"job_id":"a","prompt":"a","prompt":"b","max_tokens":1}`), http.StatusBadRequest),
			Entry("bytes that are not UTF-8", SpecTimeout(specTimeout), wire.Post("/execute", []byte("{\"job_id\":\"a\",\"prompt\":\"\xff\xfe\",\"max_tokens\":1}")), http.StatusBadRequest),
			Entry("deep nesting", SpecTimeout(specTimeout), wire.Post("/execute", `{"prompt":`+strings.Repeat("[", 100000)+strings.Repeat("]", 100000)+`}`), http.StatusBadRequest),
			Entry("a form", SpecTimeout(specTimeout), wire.Post("/execute", "prompt=a").With("Content-Type", "application/x-www-form-urlencoded"), http.StatusUnsupportedMediaType),
			Entry("no content type", SpecTimeout(specTimeout), wire.Post("/execute", api.Generate("a", 1)).With("Content-Type", ""), http.StatusUnsupportedMediaType),
			Entry("8 MB", SpecTimeout(specTimeout), wire.Post("/execute", api.Generate(strings.Repeat("a", 8<<20), 1)), http.StatusRequestEntityTooLarge),
		)
	})

	Describe("context", requirement.Claim("context.refused"), func() {
		It("refuses a prompt beyond the context with both counts, and never cuts it", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			context := *health(ctx, client).ContextLength
			_, generation := execute(ctx, client, api.Generate(rain, 1))
			prompt := generation.Started.PromptTokens

			fits := context - prompt
			if fits <= 2048 {
				stream, atLimit := execute(ctx, client, api.Generate(rain, fits))
				Expect(atLimit.Started).NotTo(BeNil(), "%d + %d tokens fit a context of %d: %.300s", prompt, fits, context, stream.Raw())
				Expect(atLimit.Started.PromptTokens).To(Equal(prompt))
				expectContextRefusal(ctx, client, api.Generate(rain, fits+1), prompt, fits+1)
			}
			long := strings.TrimSpace(strings.Repeat("rain and wind ", context/2))
			if len(long) <= 32768 {
				response, err := client.Do(ctx, wire.Post("/execute", api.Generate(long, 1)))
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("refusal of a long prompt", response.Exchange())
				Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"))
				Expect(string(response.Body)).To(ContainSubstring(fmt.Sprint(context)), "the limit should be told")
			}
			evidence.Observe("context", context, "tokens")
		})
	})

	Describe("engine", requirement.Claim("validation.before-engine"), func() {
		It("lets nothing invalid reach the engine", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			const tries = 32
			for i := range tries {
				response, err := client.Do(ctx, wire.Post("/execute", api.Generate("a", 1).With("temperature", 3+i)))
				Expect(err).NotTo(HaveOccurred())
				Expect(response.Status).To(Equal(http.StatusBadRequest))
				Expect(string(response.Body)).NotTo(ContainSubstring("event: started"))
			}
			fields := api.Generate("a", 1).With("temperature", 3)
			_, err := client.Do(ctx, wire.Post("/execute", fields))
			Expect(err).NotTo(HaveOccurred())
			response, err := client.Do(ctx, wire.Get("/jobs/"+fields.JobID()+"/events"))
			Expect(err).NotTo(HaveOccurred())
			Expect(response.Status).To(Equal(http.StatusNotFound), "a refused request must not leave a job")
			evidence.Observe("invalid requests that left no job", tries+1, "")
		})
	})

	Describe("job ids", requirement.Claim("validation.conflict"), func() {
		It("refuses a job id that is running", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			fields := subject().LongJob(ctx)
			stream, err := client.Open(ctx, wire.Post("/execute", fields))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stream.Close)
			_, err = api.Await(stream, "started")
			Expect(err).NotTo(HaveOccurred())
			response, err := client.Do(ctx, wire.Post("/execute", fields))
			Expect(err).NotTo(HaveOccurred())
			evidence.Transcript("second request", response.Exchange())
			Expect(response).To(matchers.HaveErrorCode(http.StatusConflict, "CONFLICT"))
		})
	})
}

func expectContextRefusal(ctx SpecContext, client *wire.Client, fields api.Fields, prompt, maxTokens int) {
	GinkgoHelper()
	response, err := client.Do(ctx, wire.Post("/execute", fields))
	Expect(err).NotTo(HaveOccurred())
	evidence.Transcript("refusal beyond the context", response.Exchange())
	Expect(response).To(matchers.HaveErrorCode(http.StatusBadRequest, "INVALID_REQUEST"))
	Expect(string(response.Body)).To(And(ContainSubstring(fmt.Sprint(prompt)), ContainSubstring(fmt.Sprint(maxTokens))), "both counts")
}

func withValue(fields api.Fields, name string, value any) api.Fields {
	if value == (any)(omitted{}) {
		return fields.Without(name)
	}
	return fields.With(name, value)
}

func fieldNames(response *wire.Response) []string {
	var failure api.Failure
	if err := response.JSON(&failure); err != nil {
		return nil
	}
	var names []string
	for _, field := range failure.Errors {
		names = append(names, field.Field)
	}
	slices.Sort(names)
	return names
}
