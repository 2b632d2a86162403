package target_test

import (
	"flag"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/checkout"
	"touchstone/suites/target"
)

// configure parses settings as a gate does.
func configure(environment map[string]string, arguments ...string) (target.Config, error) {
	GinkgoHelper()
	for _, name := range []string{"GATE_WORKER_URL", "GATE_WORKER_CMD", "GATE_NATIVE_LIB", "GATE_DIALECT", "GATE_DEVICE", "GATE_MODEL", "GATE_REPORT_DIR"} {
		GinkgoT().Setenv(name, environment[name])
	}
	flags := flag.NewFlagSet("gate", flag.ContinueOnError)
	config := target.Flags(flags)
	Expect(flags.Parse(arguments)).To(Succeed())
	return config()
}

var _ = Describe("settings", func() {
	It("mean the bundled worker and model by default", func() {
		config, err := configure(nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(config.Bundled()).To(BeTrue())
		Expect(config.BundledModel()).To(BeTrue())
		Expect(config.Device).To(Equal("auto"))
		Expect(config.Dialect).To(Equal("touchstone"))
		Expect(config.Model).To(Equal(filepath.Join(checkout.Root(), "fixtures", "models", "haiku.gguf")))
	})

	It("take the flag rather than the environment", func() {
		config, err := configure(map[string]string{"GATE_DEVICE": "cpu", "GATE_WORKER_URL": "http://127.0.0.1:1/"}, "--device", "cuda:2")
		Expect(err).NotTo(HaveOccurred())
		Expect(config.Device).To(Equal("cuda:2"))
		Expect(config.WorkerURL).To(Equal("http://127.0.0.1:1"))
		Expect(config.Bundled()).To(BeFalse())
	})

	DescribeTable("refuse what cannot be meant, in one line that names the setting",
		func(name, value, allowed string) {
			_, err := configure(map[string]string{name: value})
			Expect(err).To(MatchError(And(ContainSubstring(name), ContainSubstring(value), ContainSubstring(allowed), Not(ContainSubstring("\n")))))
		},
		Entry("a device", "GATE_DEVICE", "gpu", "cuda:N"),
		Entry("a dialect", "GATE_DIALECT", "french", "openai"),
		Entry("a URL", "GATE_WORKER_URL", "localhost:8080", "http://"),
		Entry("a command without a port", "GATE_WORKER_CMD", "worker serve", "{port}"),
		Entry("a model that is not there", "GATE_MODEL", "/no/such/model.gguf", "file"),
		Entry("a library that is not there", "GATE_NATIVE_LIB", "/no/such/library.so", "file"),
	)

	It("refuse a URL together with a command", func() {
		_, err := configure(map[string]string{"GATE_WORKER_URL": "http://127.0.0.1:1", "GATE_WORKER_CMD": "worker --port {port}"})
		Expect(err).To(MatchError(ContainSubstring("exclude each other")))
	})
})
