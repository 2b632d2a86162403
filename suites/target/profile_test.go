package target_test

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"
	"touchstone/suites/api"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/checkout"
	"touchstone/suites/target"
)

// configure parses settings as a gate does.
func configure(environment map[string]string, arguments ...string) (target.Profile, error) {
	GinkgoHelper()
	for _, name := range []string{"GATE_WORKER_URL", "GATE_WORKER_CMD", "GATE_NATIVE_LIB", "GATE_API", "GATE_API_KEY", "GATE_API_KEY_FILE", "GATE_PROFILE", "GATE_MODEL_NAME", "GATE_DEVICE", "GATE_MODEL", "GATE_REPORT_DIR"} {
		GinkgoT().Setenv(name, environment[name])
	}
	flags := flag.NewFlagSet("gate", flag.ContinueOnError)
	profile := target.Flags(flags)
	Expect(flags.Parse(arguments)).To(Succeed())
	return profile(checkout.Root())
}

var _ = Describe("settings", func() {
	It("mean the bundled worker and model by default", func() {
		config, err := configure(nil)
		Expect(err).NotTo(HaveOccurred())
		Expect(config.Bundled()).To(BeTrue())
		Expect(config.Device).To(Equal("auto"))
		Expect(config.API).To(Equal("touchstone"))
		Expect(config.GivesModel()).To(BeTrue())
	})

	It("take the flag rather than the environment", func() {
		config, err := configure(map[string]string{"GATE_DEVICE": "cpu", "GATE_WORKER_URL": "http://127.0.0.1:1/"}, "--device", "cuda:2")
		Expect(err).NotTo(HaveOccurred())
		Expect(config.Device).To(Equal("cuda:2"))
		Expect(config.URL).To(Equal("http://127.0.0.1:1"))
		Expect(config.Bundled()).To(BeFalse())
	})

	DescribeTable("refuse what cannot be meant, in one line that names the setting",
		func(name, value, allowed string) {
			_, err := configure(map[string]string{name: value})
			Expect(err).To(MatchError(And(ContainSubstring(name), ContainSubstring(value), ContainSubstring(allowed), Not(ContainSubstring("\n")))))
		},
		Entry("a device", "GATE_DEVICE", "gpu", "cuda:N"),
		Entry("an API", "GATE_API", "french", "openai"),
		Entry("a URL", "GATE_WORKER_URL", "localhost:8080", "http://"),
		Entry("a command with half a quotation", "GATE_WORKER_CMD", "worker '{port}", "quote"),
		Entry("a command without a port", "GATE_WORKER_CMD", "worker serve", "{port}"),
		Entry("a model that is not there", "GATE_MODEL", "/no/such/model.gguf", "file"),
		Entry("a library that is not there", "GATE_NATIVE_LIB", "/no/such/library.so", "file"),
	)

	It("refuse a URL together with a command", func() {
		_, err := configure(map[string]string{"GATE_WORKER_URL": "http://127.0.0.1:1", "GATE_WORKER_CMD": "worker --port {port}"})
		Expect(err).To(MatchError(ContainSubstring("exclude each other")))
	})
})

var _ = Describe("a profile file", func() {
	write := func(text string) string {
		GinkgoHelper()
		path := filepath.Join(GinkgoT().TempDir(), "subject.yaml")
		Expect(os.WriteFile(path, []byte(text), 0o600)).To(Succeed())
		return path
	}

	It("says all that flags can, and how a command is given what specs need", func() {
		GinkgoT().Setenv("MY_KEY", "sesame")
		path := write(`command: "my-server --port {port} --name 'two words' --model {model}"
api: openai-chat
api-key-env: MY_KEY
headers: {X-Tenant: acme}
model-name: small
options: {keep-alive: "--ping {value}"}
`)
		p, err := configure(nil, "--profile", path)
		Expect(err).NotTo(HaveOccurred())
		Expect(p.Command).To(Equal([]string{"my-server", "--port", "{port}", "--name", "two words", "--model", "{model}"}))
		Expect(p.Header).To(Equal(map[string]string{"Authorization": "Bearer sesame", "X-Tenant": "acme"}))
		Expect(p.Options).To(Equal(map[string][]string{"keep-alive": {"--ping", "{value}"}}))
		Expect(p.API).To(Equal("openai-chat"))
		Expect(p.Secrets()).To(ConsistOf("Bearer sesame", "sesame", "acme"))
		Expect(p.Arguments()).To(Equal([]string{"--profile", path}))
	})

	It("yields to flags", func() {
		p, err := configure(nil, "--profile", write("url: http://127.0.0.1:1\ndevice: cpu\n"), "--worker-url", "http://127.0.0.1:2", "--device", "sim")
		Expect(err).NotTo(HaveOccurred())
		Expect(p.URL).To(Equal("http://127.0.0.1:2"))
		Expect(p.Device).To(Equal("sim"))
	})

	It("gives the flags of the bundled worker by name", func() {
		p, err := configure(nil, "--profile", write("command: 'w serve --port {port}'\noptions-of: touchstone\n"))
		Expect(err).NotTo(HaveOccurred())
		Expect(p.Options).To(HaveKeyWithValue("queue", []string{"--queue", "{value}"}))
	})

	DescribeTable("is refused, in words that name what is wrong",
		func(text, want string) {
			_, err := configure(nil, "--profile", write(text))
			Expect(err).To(MatchError(And(ContainSubstring(want), ContainSubstring("profile"))))
		},
		Entry("with an unknown field", "wurl: x\n", "wurl"),
		Entry("with an unknown option", "options: {sing: '{value}'}\n", "keep-alive"),
		Entry("with an option that takes no value", "options: {queue: '--queue'}\n", "{value}"),
		Entry("with a key that is not set", "api-key-env: NO_SUCH_KEY\n", "NO_SUCH_KEY"),
		Entry("with options of somebody", "options-of: somebody\n", "touchstone"),
	)
})

var _ = Describe("a server of the OpenAI API", func() {
	DescribeTable("is asked what it offers",
		func(ctx SpecContext, answer http.Handler, offer target.OpenAIOffer, capabilities string) {
			server := httptest.NewServer(answer)
			DeferCleanup(server.Close)
			profile, err := configure(nil, "--api", "openai-completions", "--worker-url", server.URL)
			Expect(err).NotTo(HaveOccurred())
			subject, err := target.Prepare(ctx, profile)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(subject.Close)
			Expect(subject.OpenAI()).To(Equal(offer))
			Expect(subject.Subject().Capabilities).To(Equal(capabilities))
			Expect(subject.Subject().Model).To(Equal(offer.Model))
			joined, err := target.Join(profile, subject.Shared().Encode())
			Expect(err).NotTo(HaveOccurred())
			Expect(joined.OpenAI()).To(Equal(offer), "another process knows it too")
		},
		Entry("nothing", SpecTimeout(10*time.Second), http.NotFoundHandler(), target.OpenAIOffer{}, "http"),
		Entry("all", SpecTimeout(10*time.Second), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(api.RequestHeader, r.Header.Get(api.RequestHeader))
			fmt.Fprint(w, `{"data":[{"id":"m"}]}`)
		}), target.OpenAIOffer{Model: "m", Health: true, Chat: true, Correlation: api.RequestHeader}, "http, health, chat, correlation"),
		Entry("numbers of its own", SpecTimeout(10*time.Second), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(api.RequestHeader, "17")
			http.NotFound(w, r)
		}), target.OpenAIOffer{}, "http"),
		Entry("another's id", SpecTimeout(10*time.Second), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set(api.CorrelationHeader, "17")
			http.NotFound(w, r)
		}), target.OpenAIOffer{Correlation: api.CorrelationHeader}, "http, correlation"),
	)
})
