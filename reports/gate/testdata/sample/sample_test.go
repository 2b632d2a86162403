// Package sample is a small gate that is run as a subprocess, once for each way in which a run can look
// green without having proven anything. The environment variable SCENARIO picks the way.
package sample

import (
	_ "embed"
	"os"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/gate"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
)

//go:embed sample.yaml
var registry []byte

var scenario = os.Getenv("SCENARIO")

// hostile is what a subject writes that wants to be more than text.
const hostile = "\x1b[31m\r\n::stop-commands::x\n  ::error::y\n##[error]z\u202e<script>a</script> | ![i](http://i) [l](http://l) `t` www.x.y a@b.c"

func TestSample(t *testing.T) {
	gate.Run(t, gate.Gate{
		Registry:  registry,
		Tree:      tree(),
		Rerun:     gate.GinkgoRerun("./gates/sample", "--url", "http://me:hunter2@host"),
		ReportDir: "reports/out/sample",
		Subject: func() verdict.Subject {
			late.Wait()
			if scenario == "subject panics" {
				panic("no worker")
			}
			if scenario == "hostile" {
				return verdict.Subject{Worker: hostile, WorkerVersion: hostile, Device: hostile, Model: hostile, Capabilities: hostile}
			}
			if scenario == "setup fails" {
				return verdict.Subject{}
			}
			return verdict.Subject{Worker: "sample", WorkerVersion: "1.0.0", WorkerSHA256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", Device: "cpu", Model: "tiny"}
		},
		Configured: "http://host",
		// Also hunter2, which the URL names. One looks like a number: numbers of a report must stay what they are.
		Secrets:       []string{`sk-"1`, "75"},
		SourcesSHA256: "5a5a",
	})
}

// tree names the tree of specs: some scenarios add one.
func tree() string {
	switch scenario {
	case "pending", "programmatic focus", "must pass repeatedly":
		return scenario
	}
	return ""
}

var _ = BeforeSuite(func() {
	if scenario == "setup fails" {
		Fail("the worker did not start")
	}
})

var _ = AfterSuite(func() {
	if scenario == "cleanup fails" {
		Fail("the worker did not stop")
	}
})

var late sync.WaitGroup

var _ = Describe("sample", func() {
	It("answers", requirement.Claim("answer.given"), func() {
		late.Wait()
		switch scenario {
		case "all skipped":
			Skip("needs a worker")
		case "fails":
			Expect(41).To(Equal(42), "the answer")
		case "panics":
			panic("boom")
		case "hostile":
			evidence.Observe(hostile, hostile, hostile)
			evidence.Attach(hostile, "text/plain", []byte(hostile))
			Expect(hostile).To(Equal("an answer"), hostile)
		case "secrets":
			header := map[string][]string{"Authorization": {"Bearer another"}, "X-Echo": {`sk-"1`}}
			evidence.Transcript("ask", evidence.Exchange{Method: "GET", URL: "http://me:another@host", RequestHeader: header, ResponseBody: `{"key": "sk-\"1"}`})
			evidence.Attach("log", "text/plain", []byte(`started with sk-"1`))
			evidence.Observe("log", map[string]string{`sk-"1`: "hunter2"}, "")
			Expect(`sk-"1`).To(BeEmpty())
		case "beyond the bound":
			evidence.KernelError("gemm", "q4_0", "avx2", 64, 1.5, "row 0 column 1")
		}
		evidence.Observe("answer", 42, "")
		evidence.Transcript("ask", evidence.Exchange{Method: "GET", URL: "/answer", Status: 200, ElapsedMS: 5,
			Events: []evidence.Event{{AtMS: 1, Event: "started", Data: "{}"}, {AtMS: 2, Event: "token", Data: `{"i":0}`},
				{AtMS: 4, Event: "token", Data: `{"i":1}`}, {AtMS: 5, Event: "end", Data: "{}"}}})
		evidence.KernelError("gemm", "q8_0", "avx2", 64, 0.25, "row 0 column 1")
	})

	It("answers twice", requirement.Claim("answer.twice"), spec2)

	It("answers fast", requirement.Claim("answer.fast"), func() {
		late.Wait()
		switch scenario {
		case "all skipped", "one skipped":
			Skip("needs a CUDA device")
		case "should fails":
			Fail("too slow")
		case "a part missing":
			evidence.NotRun("on a device", "needs a CUDA device")
		}
		evidence.Observe("time", 3, "ms")
	})

	switch scenario {
	case "unknown id":
		It("is odd", requirement.Claim("answer.odd"), func() {})
	case "no id":
		It("is a stray", func() {})
	case "flake attempts":
		It("is flaky", requirement.Claim("answer.given"), FlakeAttempts(3), func() {})
	case "programmatic focus":
		FIt("is focused", requirement.Claim("answer.given"), func() { evidence.Observe("n", 1, "") }) //nolint:ginkgolinter // the mistake is the point
	case "pending":
		PIt("is pending", requirement.Claim("answer.given"), func() {})
	case "must pass repeatedly":
		It("is repeated", requirement.Claim("answer.given"), MustPassRepeatedly(2), func() { evidence.Observe("n", 1, "") })
	}
})

func spec2(ctx SpecContext) {
	switch scenario {
	case "all skipped":
		Skip("needs a worker")
	case "empty It":
		return
	case "zero iterations":
		var events []string
		for _, event := range events {
			evidence.Observe("event", event, "")
			Expect(event).To(Equal("token"))
		}
		return
	case "Eventually without Should":
		Eventually(ctx, func(g Gomega) { g.Expect(1).To(Equal(2)) }) //nolint:ginkgolinter // the mistake is the point
		return
	case "late assertion":
		late.Add(1)
		go func() {
			defer GinkgoRecover()
			defer late.Done()
			for CurrentSpecReport().LeafNodeText == "answers twice" {
				time.Sleep(time.Millisecond) // until the spec is over
			}
			Expect(1).To(Equal(2))
		}()
	}
	evidence.Observe("answer", 42, "")
	evidence.Attach("log", "text/plain", []byte("answered\n"))
}
