// Package samples holds a run with a row in every state, for the tests of what is made from a run.
package samples

import (
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"touchstone/reports/evidence"
	"touchstone/reports/verdict"
)

// Registry is the YAML of the sample's registry.
const Registry = `gate: sample
title: Sample <of all states>
version: 1.0.0
rows:
  - {id: HTTP-01, layer: HTTP, title: Answers, level: MUST, since: 1.0.0, needs: [http], claims: [http.01], faults: [no-answer, late-answer], proof: It answers.}
  - {id: HTTP-02, layer: HTTP, title: Streams | one by one, level: MUST, since: 1.0.0, needs: [http], claims: [http.02], faults: [buffered], proof: It streams.}
  - {id: CUDA-01, layer: CUDA, title: Finds its device, level: MUST, since: 1.0.0, needs: [cuda-device], claims: [cuda.01], faults: [no-device], proof: It finds the device.}
  - {id: KRN-01, layer: Kernels, title: Multiplies, level: MUST, since: 1.0.0, needs: [native], claims: [krn.01], faults: [transposed], proof: It multiplies.}
  - {id: KRN-02, layer: Kernels, title: Adds, level: SHOULD, since: 1.0.0, needs: [native], claims: [krn.02], faults: [off-by-one], proof: It adds.,
     waiver: {owner: Kim, reason: rounding under review, expires: 2030-01-31}}
  - {id: INT-01, layer: Integration, title: Survives, level: MUST, since: 1.0.0, needs: [http], claims: [int.01], faults: [dies], proof: It survives.}
`

// Ginkgo is the report of a run of the sample.
func Ginkgo() types.Report {
	started := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	report := types.Report{SuiteDescription: "sample", StartTime: started, EndTime: started.Add(75 * time.Second), RunTime: 75 * time.Second,
		SuiteConfig: types.SuiteConfig{RandomSeed: 7}, PreRunStats: types.PreRunStats{TotalSpecs: 6, SpecsThatWillRun: 6}}
	add := func(id, text string, state types.SpecState, failure string, entries types.ReportEntries) {
		report.SpecReports = append(report.SpecReports, types.SpecReport{
			ContainerHierarchyTexts: []string{"sample"}, ContainerHierarchyLabels: [][]string{{}}, LeafNodeType: types.NodeTypeIt,
			LeafNodeText: text, LeafNodeLabels: []string{id}, LeafNodeLocation: types.CodeLocation{FileName: "/src/suites/sample/sample.go", LineNumber: 10},
			State: state, StartTime: started, EndTime: started.Add(1500 * time.Millisecond), RunTime: 1500 * time.Millisecond, ParallelProcess: 1, NumAttempts: 1,
			Failure: types.Failure{Message: failure, Location: types.CodeLocation{FileName: "/src/suites/sample/sample.go", LineNumber: 12}}, ReportEntries: entries})
	}
	passed, failed, skipped := types.SpecStatePassed, types.SpecStateFailed, types.SpecStateSkipped
	add("HTTP-01", "answers", passed, "", Entries(func(r *Recorder) {
		r.Observe("p99", 3.25, "ms")
		r.Observe("text", "<b>& | `tick`", "")
		r.Transcript("execute", Exchange())
	}))
	add("HTTP-02", "streams token by token", failed,
		"tokens differ\nexpected: [1 2 3]\ngot: [1 9 3]\nfirst divergence: index 1 \x00 </script>", nil)
	add("CUDA-01", "finds its device", skipped, "needs a CUDA device", nil)
	add("KRN-01", "multiplies", passed, "", Entries(func(r *Recorder) {
		r.KernelError("gemm", "f32", "avx2", 1024, 0.125, "row 3 column 7")
		r.KernelError("gemm", "q8_0", "avx2", 1024, 0.75, "row 0 column 1")
		r.LogitsHash("step 0", evidence.Digest([]byte("logits")))
		r.Attach("log", "text/plain", []byte("multiplied\n"))
		r.NotRun("gemm by cuBLAS", "needs a CUDA device")
	}))
	add("KRN-02", "adds", failed, "Expected\n    <int>: 3\nto equal\n    <int>: 4", nil)
	add("INT-01", "survives", passed, "", nil)
	return report
}

// Exchange is a stream of eight tokens.
func Exchange() evidence.Exchange {
	exchange := evidence.Exchange{Method: "POST", URL: "http://worker/execute", RequestBody: `{"prompt":"hi"}`, Status: 200, ElapsedMS: 100,
		ResponseHeader: map[string][]string{"Content-Type": {"text/event-stream"}}, Events: []evidence.Event{{AtMS: 2, Event: "started", Data: "{}"}}}
	for i := range 8 {
		exchange.Events = append(exchange.Events, evidence.Event{AtMS: float64(10 + 11*i + i%3), Event: "token", Data: `{"t":"<b>"}`})
	}
	exchange.Events = append(exchange.Events, evidence.Event{AtMS: 100, Event: "end", Data: "{}"})
	return exchange
}

// Recorder records what a spec saw.
type Recorder = evidence.Recorder

// Entries are Ginkgo's report entries of what record records.
func Entries(record func(*Recorder)) types.ReportEntries {
	var all types.ReportEntries
	record(evidence.NewRecorder(func(entry evidence.Entry) {
		all = append(all, types.ReportEntry{Name: "evidence/v1 " + string(entry.Kind) + " " + entry.Name, Value: types.WrapEntryValue(entry)})
	}))
	return all
}

// sources stands for the digest of the sample's sources.
const sources = "d1735750d1735750d1735750d1735750d1735750d1735750d1735750d1735750"

// Options are those of the sample's run.
func Options() verdict.Options {
	options := verdict.Options{
		Rerun: "go tool ginkgo run --focus={focus} ./gates/sample", SourcesSHA256: sources,
		Subject: verdict.Subject{Worker: "touchstone", WorkerVersion: "1.0.0", WorkerSHA256: evidence.Digest([]byte("worker")), Device: "cpu",
			Simulated: true, Model: "haiku", ModelSHA256: evidence.Digest([]byte("model")), HarnessVersion: "1.0.0"},
		Teeth: &verdict.Teeth{SourcesSHA256: sources, Rows: map[string]verdict.TeethRow{"HTTP-01": {Killed: []string{"no-answer"}, Survived: []string{"late-answer"}}}},
	}
	for _, spec := range Ginkgo().SpecReports {
		options.Plan = append(options.Plan, verdict.PlannedSpec{Row: spec.LeafNodeLabels[0], Text: spec.FullText()})
	}
	return options
}
