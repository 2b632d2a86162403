package reports_test

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports"
	"touchstone/reports/internal/samples"
	"touchstone/reports/verdict"
)

var _ = Describe("Changes", func() {
	It("are none between a report and itself", func() {
		Expect(reports.Changes(newSample().Result, newSample().Result)).To(BeEmpty())
	})

	It("name the subject, the verdict, rows and figures", func() {
		before := newSample().Result
		ginkgo, options := samples.Ginkgo(), samples.Options()
		options.Subject.Device, options.Teeth = "NVIDIA H200", &verdict.Teeth{SourcesSHA256: options.SourcesSHA256,
			Rows: map[string]verdict.TeethRow{"HTTP-01": {Killed: []string{"no-answer"}}, "KRN-01": {Killed: []string{"transposed"}}}}
		ginkgo.SpecReports[0].ReportEntries = samples.Entries(func(r *samples.Recorder) { r.Observe("p99", 6.5, "ms") })
		after, err := reports.New([]byte(samples.Registry), ginkgo, options)
		Expect(err).NotTo(HaveOccurred())
		Expect(reports.Changes(before, after.Result)).To(ConsistOf(
			reports.Change{Where: "subject", Text: `device: "cpu" → "NVIDIA H200"`},
			reports.Change{Where: "verdict", Text: "FAIL 1/6 → FAIL 2/6"},
			reports.Change{Where: "KRN-01", Text: "UNPROVEN → PASSED"},
			reports.Change{Where: "HTTP-01 sample answers: p99", Text: "3.25 ms → 6.5 ms (+100.0 %)"},
		))
	})
})
