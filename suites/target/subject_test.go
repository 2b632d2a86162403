package target_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/process"
	"touchstone/suites/target"
)

// page answers as a website does.
func page(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprint(w, "<!doctype html><title>hello</title>")
	}
}

// locked wants a key at one path.
func locked(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path && r.Header.Get("Authorization") != "Bearer sesame" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"model":"m","version":"0.1","device":"cpu"}`)
	}
}

// prepare makes the target of a server, as a gate does.
func prepare(ctx context.Context, server *httptest.Server, key string) (*target.Target, error) {
	GinkgoHelper()
	profile, err := configure(map[string]string{"GATE_API_KEY": key}, "--worker-url", server.URL)
	Expect(err).NotTo(HaveOccurred())
	return target.Prepare(ctx, profile)
}

var _ = Describe("a worker at a URL", func() {
	serve := func(answer http.Handler) *httptest.Server {
		server := httptest.NewServer(answer)
		DeferCleanup(server.Close)
		return server
	}

	DescribeTable("is refused before any spec, in one line that names it and says what to do",
		func(ctx SpecContext, answer http.Handler, key, want string) {
			server := serve(answer)
			subject, err := prepare(ctx, server, key)
			Expect(err).To(MatchError(And(HavePrefix(server.URL+": "), ContainSubstring(want), Not(ContainSubstring("\n")))))
			Expect(subject.Subject().Worker).To(Equal(server.URL))
		},
		Entry("if it is a website", SpecTimeout(10*time.Second), page(http.StatusOK), "", "GET /health with 200 and a page of HTML"),
		Entry("if it is a website without that page", SpecTimeout(10*time.Second), page(http.StatusNotFound), "",
			"GET /health with 404 and a page of HTML"),
		Entry("if its health needs a key", SpecTimeout(10*time.Second), locked("/health"), "",
			"401 to GET /health: give its key with --api-key-file"),
		Entry("if all but its health needs a key", SpecTimeout(10*time.Second), locked("/tokenize"), "",
			"401 to POST /tokenize: give its key with --api-key-file"),
		Entry("if it wants another key", SpecTimeout(10*time.Second), locked("/tokenize"), "simsim", "it refuses the key that it was given"),
	)

	It("is refused if nothing listens there", func(ctx SpecContext) {
		server := httptest.NewServer(page(http.StatusOK))
		server.Close()
		_, err := prepare(ctx, server, "")
		Expect(err).To(MatchError(And(HavePrefix(server.URL+": it does not answer GET /health"), ContainSubstring("refused"))))
	}, SpecTimeout(10*time.Second))

	It("has the hash of the program that listens, and none of a model that the harness did not give it", func(ctx SpecContext) {
		subject, err := prepare(ctx, serve(locked("/tokenize")), "sesame")
		Expect(err).NotTo(HaveOccurred())
		DeferCleanup(subject.Close)
		own, err := os.Executable()
		Expect(err).NotTo(HaveOccurred())
		got := subject.Subject()
		Expect(got.WorkerSHA256).To(And(Equal(process.Digest(own)), Not(BeEmpty())))
		Expect(got.Model).To(Equal("m"))
		Expect(got.ModelSHA256).To(BeEmpty())
		Expect(got.Shown.Model).To(BeFalse())
	}, SpecTimeout(10*time.Second))
})

var _ = Describe("a worker of a command", func() {
	DescribeTable("is named as it was typed, and its model is known only if the harness gives it",
		func(command string, givesModel bool) {
			profile, err := configure(nil, "--worker-cmd", command)
			Expect(err).NotTo(HaveOccurred())
			Expect(profile.Label()).To(Equal(command))
			Expect(profile.KnowsModel()).To(Equal(givesModel))
		},
		Entry("without a model", "python3 server.py --port {port}", false),
		Entry("with one", "python3 server.py --port {port} --weights {model} --device {device}", true),
		Entry("with a placeholder of somebody else's", "sabotage --listen 127.0.0.1:{port} -- worker --port {inner}", false),
		Entry("with two words in one", "serve '{port} {model}'", true),
	)
})
