package httpapi

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// RegisterProcess adds the specs of HTTP-01 that hold in any dialect: how the worker's process starts.
func RegisterProcess(subject func() *target.Target) {
	Describe("server process", requirement.ID("HTTP-01"), func() {
		It("starts on a free port", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, err := subject().Start(ctx, target.Launch{})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			Expect(worker.Late).To(BeFalse(), "ready only after %s", worker.ReadyAfter)
			evidence.Observe("ready after start", worker.ReadyAfter.Milliseconds(), "ms")
		})

		It("refuses a busy port with one clear line", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(listener.Close)
			port := listener.Addr().(*net.TCPAddr).Port
			line := expectRefusal(ctx, subject(), target.Launch{}, port)
			Expect(line).To(ContainSubstring(fmt.Sprint(port)), "the line should name the port")
		})

		It("refuses a bad device and a missing model with one clear line each", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			port, err := target.FreePort()
			Expect(err).NotTo(HaveOccurred())
			tried := 0
			for _, bad := range []struct {
				placeholder, value string
				launch             target.Launch
			}{
				{"{device}", "warp:9", target.Launch{Device: "warp:9"}},
				{"{model}", "/no/such/model.gguf", target.Launch{Model: "/no/such/model.gguf"}},
			} {
				if !subject().CommandTakes(bad.placeholder) {
					continue
				}
				tried++
				line := expectRefusal(ctx, subject(), bad.launch, port)
				Expect(line).To(ContainSubstring(bad.value), "the line should name what is wrong")
			}
			Expect(tried).To(BeNumerically(">", 0), "the command line has neither {device} nor {model}: nothing bad can be given")
		})
	})
}

// HTTP-01 Server operational.
func registerServer(subject func() *target.Target) {
	Describe("server operational", requirement.ID("HTTP-01"), func() {
		DescribeTable("answers what it does not know with a JSON error",
			func(ctx SpecContext, call target.Call, status int, code string) {
				client := httpClient(subject)
				response, err := client.Do(ctx, call)
				Expect(err).NotTo(HaveOccurred())
				evidence.Transcript("refusal", response.Exchange())
				Expect(response).To(matchers.HaveErrorCode(status, code))
			},
			Entry("unknown path", SpecTimeout(specTimeout), target.Get("/no/such/path"), http.StatusNotFound, "NOT_FOUND"),
			Entry("unknown job", SpecTimeout(specTimeout), target.Get("/jobs/no-such-job/events"), http.StatusNotFound, "NOT_FOUND"),
			Entry("wrong method on /execute", SpecTimeout(specTimeout), target.Get("/execute"), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED"),
			Entry("wrong method on /health", SpecTimeout(specTimeout), target.Post("/health", target.Fields{}), http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED"),
		)

		It("answers 64 concurrent health calls", SpecTimeout(specTimeout), func(ctx SpecContext) {
			client := httpClient(subject)
			const calls = 64
			statuses := make([]int, calls)
			failures := make([]error, calls)
			var group sync.WaitGroup
			for i := range calls {
				group.Go(func() {
					response, err := client.Do(ctx, target.Get("/health"))
					if failures[i] = err; err == nil {
						var answer target.Health
						statuses[i], failures[i] = response.Status, response.JSON(&answer)
					}
				})
			}
			group.Wait()
			for i := range calls {
				Expect(failures[i]).NotTo(HaveOccurred(), "call %d", i)
				Expect(statuses[i]).To(Equal(http.StatusOK), "call %d", i)
			}
			evidence.Observe("concurrent health calls answered", calls, "")
		})

		It("drains a stream on SIGTERM and exits 0", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, err := subject().Start(ctx, target.Launch{})
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := target.NewClient(worker.URL)
			DeferCleanup(client.Close)
			stream, err := client.Open(ctx, target.Post("/execute", subject().LongJob(ctx)))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(stream.Close)
			_, err = stream.Await("token")
			Expect(err).NotTo(HaveOccurred())

			start := time.Now()
			worker.Terminate()
			Expect(stream.Drain()).To(Succeed())
			Expect(stream).To(matchers.BeWellFormedSSE())
			stopping, cancel := context.WithTimeout(ctx, drainTimeout-time.Since(start))
			defer cancel()
			Expect(worker.Stop(stopping)).To(Succeed())
			evidence.Transcript("stream under SIGTERM", stream.Exchange())
			evidence.Observe("exit after SIGTERM", time.Since(start).Milliseconds(), "ms")
		})
	})
}

// expectRefusal runs a command that must not start, and returns its last line.
func expectRefusal(ctx SpecContext, subject *target.Target, launch target.Launch, port int) string {
	GinkgoHelper()
	code, output, err := target.Run(ctx, subject.Launch(launch), port)
	Expect(err).NotTo(HaveOccurred())
	Expect(code).To(BeNumerically(">", 0), "exit code; output:\n%s", output)
	var lines []string
	for line := range strings.Lines(output) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	Expect(lines).To(HaveLen(1), "want one clear line, got %d:\n%s", len(lines), output)
	evidence.Observe("refusal", map[string]any{"exit code": code, "line": lines[0]}, "")
	return lines[0]
}
