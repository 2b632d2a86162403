package gate1_test

import (
	"flag"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/fixtures/saboteurs"
	"touchstone/gates/gate1"
	"touchstone/reports/gate"
	"touchstone/reports/verdict"
	"touchstone/suites/cuda"
	"touchstone/suites/determinism"
	"touchstone/suites/ffi"
	"touchstone/suites/httpapi"
	"touchstone/suites/integration"
	"touchstone/suites/kernels"
	"touchstone/suites/kvcache"
	"touchstone/suites/openai"
	"touchstone/suites/performance"
	"touchstone/suites/target"
)

var (
	configured = target.Flags(flag.CommandLine)
	config     target.Config
	subject    *target.Target
)

// setupTimeout covers the build of the bundled worker on a machine that never built it.
const setupTimeout = 10 * time.Minute

func TestGate1(t *testing.T) {
	var err error
	if config, err = configured(); err != nil {
		t.Fatal(err)
	}
	if config.ReportDir != "" {
		t.Setenv("GATE_REPORT_DIR", config.ReportDir) // the flag wins over the environment
	}
	known, err := gate1.Known()
	if err != nil {
		t.Fatal(err)
	}
	gate.Run(t, gate.Gate{
		Registry: known.Registry, Plans: known.Plans, Tree: config.Dialect, SourcesSHA256: known.SourcesSHA256, Teeth: gate1.Teeth,
		Rerun: gate.GinkgoRerun("./gates/gate1", settings(config)...), ReportDir: filepath.Join(target.Root(), "reports", "out", "gate1"),
		KnownFaults: saboteurs.Names(), Subject: func() verdict.Subject { return subject.Subject() }, Configured: configuredName(config),
	})
}

// settings are the flags that point a run at the same subject again.
func settings(c target.Config) []string {
	var flags []string
	for _, setting := range []struct{ flag, value, otherwise string }{
		{"--worker-url", c.WorkerURL, ""}, {"--worker-cmd", c.WorkerCmd, ""}, {"--native-lib", c.NativeLib, ""},
		{"--device", c.Device, "auto"},
		{"--dialect", c.Dialect, target.DialectTouchstone},
		{"--model", c.Model, filepath.Join(target.Root(), "fixtures", "models", "haiku.gguf")},
	} {
		if setting.value != setting.otherwise {
			flags = append(flags, setting.flag, setting.value)
		}
	}
	return flags
}

// configuredName names the subject before anything is known of it.
func configuredName(c target.Config) string {
	if c.Bundled() {
		return "touchstone"
	}
	return c.WorkerURL + c.WorkerCmd
}

var _ = SynchronizedBeforeSuite(func(ctx SpecContext) []byte {
	prepared, err := target.Prepare(ctx, config)
	Expect(err).NotTo(HaveOccurred())
	subject = prepared
	return prepared.Shared().Encode()
}, func(shared []byte) {
	if subject != nil {
		return // the process that prepared it
	}
	joined, err := target.Join(config, shared)
	Expect(err).NotTo(HaveOccurred())
	subject = joined
}, NodeTimeout(setupTimeout))

var _ = SynchronizedAfterSuite(func() {}, func(ctx SpecContext) {
	if subject != nil {
		Expect(subject.Close(ctx)).To(Succeed())
	}
}, NodeTimeout(time.Minute))

var _ = Describe("Gate 1", func() {
	current := func() *target.Target { return subject }
	// The tree is built after the settings are read: a worker is asked in its own dialect alone.
	if config.Dialect == target.DialectOpenAI {
		Describe("OpenAI API", func() { openai.Register(current) })
	} else {
		Describe("HTTP", func() { httpapi.Register(current) })
		Describe("integration", func() {
			integration.Register(current)
			performance.Register(current)
		})
	}
	Describe("FFI", func() { ffi.Register(current) })
	Describe("CUDA", func() { cuda.Register(current) })
	Describe("kernels", func() { kernels.Register(current) })
	Describe("KV cache", func() { kvcache.Register(current) })
	Describe("integration", func() { determinism.Register(current) })
})
