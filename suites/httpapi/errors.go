package httpapi

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"net/http"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

func registerErrors(subject func() *target.Target) {
	Describe("what a worker does not know", requirement.Claim("http.errors"), func() {
		DescribeTable("answers what it does not know with a JSON error",
			func(ctx SpecContext, call wire.Call, status int, code string) {
				client := httpClient(subject)
				response, err := client.Do(ctx, call)
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("refusal", response.Exchange())
				Expect(response).To(matchers.HaveErrorCode(status, code))
			},
			Entry("unknown path", SpecTimeout(specTimeout), wire.Get("/no/such/path"), http.StatusNotFound, "NOT_FOUND"),
			Entry("unknown job", SpecTimeout(specTimeout), wire.Get("/jobs/no-such-job/events"), http.StatusNotFound, "NOT_FOUND"),
			Entry("wrong method on /execute", SpecTimeout(specTimeout), wire.Get("/execute"), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED"),
			Entry("wrong method on /health", SpecTimeout(specTimeout), wire.Post("/health", api.Fields{}), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED"),
		)
	})
}
