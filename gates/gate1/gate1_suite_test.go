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
	"touchstone/suites/checkout"
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
	gate.Run(t, gate.Gate{
		Registry: gate1.Registry, Package: "./gates/gate1", ReportDir: filepath.Join(checkout.Root(), "reports", "out", "gate1"),
		KnownFaults: saboteurs.All(), Subject: func() verdict.Subject { return subject.Subject() },
	})
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
