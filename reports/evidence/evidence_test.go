package evidence_test

import (
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
)

func TestEvidence(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Evidence")
}

// recordOneOfEach uses the package-level functions, as a spec does.
func recordOneOfEach() {
	evidence.Observe("tokens", 64, "")
	evidence.Observe("loss", math.NaN(), "")
	evidence.Observe("seeds", []uint64{math.MaxUint64}, "")
	evidence.KernelError("gemm", "q8_0", "avx2", 1024, 0.25, "row 3 column 7")
	evidence.LogitsHash("step 0", "ab12")
	evidence.Attach("log", "text/plain", []byte("started\n"))
	evidence.Transcript("execute", evidence.Exchange{Method: "POST", URL: "/execute", Status: 200, ElapsedMS: 12.5,
		Events: []evidence.Event{{AtMS: 3, Event: "started", Data: "{}"}, {AtMS: 12, Event: "end", Data: "{}"}}})
}

func expectOneOfEach(entries []evidence.Entry) {
	GinkgoHelper()
	Expect(entries).To(HaveLen(7))
	Expect(fmt.Sprint(entries[0].Value)).To(Equal("64"))
	Expect(entries[1].Value).To(Equal("NaN"))
	Expect(fmt.Sprint(entries[2].Value)).To(Equal("[18446744073709551615]"))
	Expect(entries[3].KernelError.Where).To(Equal("row 3 column 7"))
	Expect(fmt.Sprint(entries[3].KernelError.WorstFractionOfBound)).To(Equal("0.25"))
	Expect(entries[4].SHA256).To(Equal("ab12"))
	Expect(entries[5].File.Name()).To(Equal(evidence.Digest([]byte("started\n")) + ".txt"))
	Expect(entries[6].Transcript.Events).To(Equal(2))
	var exchange evidence.Exchange
	Expect(json.Unmarshal(entries[6].File.Content, &exchange)).To(Succeed())
	Expect(exchange.Events[1].AtMS).To(Equal(12.0))
}

var _ = Describe("Evidence", func() {
	It("is attached to the running spec", func() {
		AddReportEntry("somebody else's", 1, ReportEntryVisibilityNever)
		recordOneOfEach()
		entries, err := evidence.FromReport(CurrentSpecReport().ReportEntries)
		Expect(err).NotTo(HaveOccurred())
		expectOneOfEach(entries)
	})

	It("survives Ginkgo's JSON report", func() {
		recordOneOfEach()
		text, err := json.Marshal(CurrentSpecReport())
		Expect(err).NotTo(HaveOccurred())
		var report types.SpecReport
		Expect(json.Unmarshal(text, &report)).To(Succeed())
		text, err = json.Marshal(report) // as a parallel process sends it on
		Expect(err).NotTo(HaveOccurred())
		Expect(json.Unmarshal(text, &report)).To(Succeed())
		entries, err := evidence.FromReport(report.ReportEntries)
		Expect(err).NotTo(HaveOccurred())
		expectOneOfEach(entries)
	})

	It("points at the line that recorded it", func() {
		evidence.Observe("here", 1, "")
		Expect(CurrentSpecReport().ReportEntries[0].Location.FileName).To(HaveSuffix("evidence_test.go"))
	})

	It("is fixed at the moment it is recorded", func() {
		value := []int{1}
		evidence.Observe("list", value, "")
		value[0] = 2
		entries, err := evidence.FromReport(CurrentSpecReport().ReportEntries)
		Expect(err).NotTo(HaveOccurred())
		Expect(fmt.Sprint(entries[0].Value)).To(Equal("[1]"))
	})

	It("takes values that JSON cannot carry as text", func() {
		evidence.Observe("channel", make(chan int), "")
		evidence.Observe("list", []float64{math.Inf(1)}, "")
		entries, err := evidence.FromReport(CurrentSpecReport().ReportEntries)
		Expect(err).NotTo(HaveOccurred())
		Expect(entries[1].Value).To(Equal("[+Inf]"))
	})

	It("may be recorded by many goroutines of a spec", func() {
		var group sync.WaitGroup
		for i := range 64 {
			group.Go(func() { evidence.Observe(fmt.Sprint(i), i, "") })
		}
		group.Wait()
		entries, err := evidence.FromReport(CurrentSpecReport().ReportEntries)
		Expect(err).NotTo(HaveOccurred())
		Expect(entries).To(HaveLen(64))
	})

	It("goes to an explicit sink", func() {
		var got []evidence.Entry
		evidence.NewRecorder(func(entry evidence.Entry) { got = append(got, entry) }).Observe("n", 1, "ms")
		Expect(got).To(HaveLen(1))
		Expect(CurrentSpecReport().ReportEntries).To(BeEmpty())
	})

	It("is detached from its file", func() {
		evidence.Attach("log", "text/plain", []byte("started\n"))
		raw, file, err := evidence.Detach(CurrentSpecReport().ReportEntries[0], false, nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(file.Content).To(Equal([]byte("started\n")))
		entries, err := evidence.FromReport(types.ReportEntries{raw})
		Expect(err).NotTo(HaveOccurred())
		Expect(entries[0].File.SHA256).To(Equal(file.SHA256))
		Expect(entries[0].File.Content).To(BeEmpty())
	})

	It("keeps lengths, times and hashes of redacted texts, and nothing of the texts", func() {
		evidence.Observe("text", "a secret", "")
		evidence.Observe("list", []string{"a secret"}, "")
		evidence.Attach("log", "text/plain", []byte("a secret\n"))
		evidence.Transcript("execute", evidence.Exchange{Method: "POST", RequestBody: "a secret", Status: 200, ResponseBody: "a secret",
			Events: []evidence.Event{{AtMS: 3, Event: "token", Data: "a secret"}}})
		evidence.Observe("tokens", 64, "")
		for _, raw := range CurrentSpecReport().ReportEntries {
			stored, file, err := evidence.Detach(raw, true, nil)
			Expect(err).NotTo(HaveOccurred())
			text, err := json.Marshal(stored)
			Expect(err).NotTo(HaveOccurred())
			Expect(string(text)).NotTo(ContainSubstring("secret"))
			if file != nil {
				Expect(string(file.Content)).NotTo(ContainSubstring("secret"))
				Expect(string(file.Content)).To(MatchRegexp(`\[redacted: \d+ bytes, sha256 [0-9a-f]{64}\]`))
			}
			entries, err := evidence.FromReport(types.ReportEntries{stored})
			Expect(err).NotTo(HaveOccurred())
			switch entries[0].Name {
			case "text":
				Expect(entries[0].Value).To(Equal("[redacted: 8 bytes, sha256 " + evidence.Digest([]byte("a secret")) + "]"))
			case "tokens":
				Expect(entries[0].Value).To(Equal(json.Number("64")))
			case "execute":
				Expect(entries[0].Check(file.Content)).To(Succeed())
			}
		}
	})
})
