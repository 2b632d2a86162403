package server

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"fmt"
	"net"
	"strings"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/process"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// registerStart adds the specs of how the worker's process starts.
func registerStart(subject func() *target.Target) {
	Describe("start", requirement.Claim("server.starts"), func() {
		It("starts on a free port", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			worker, _ := start(ctx, subject())
			Expect(worker.Late).To(BeFalse(), "ready only after %s", worker.ReadyAfter)
			evidence.Observe("ready after start", worker.ReadyAfter.Milliseconds(), "ms")
		})

		It("refuses a busy port with one clear line", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(listener.Close)
			port := listener.Addr().(*net.TCPAddr).Port
			line := expectRefusal(ctx, subject(), process.Launch{}, port)
			Expect(line).To(ContainSubstring(fmt.Sprint(port)), "the line should name the port")
		})

		It("refuses a bad device and a missing model with one clear line each", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			port, err := process.FreePort()
			Expect(err).NotTo(HaveOccurred())
			tried := 0
			for _, bad := range []struct {
				placeholder, value string
				launch             process.Launch
			}{
				{"{device}", "warp:9", process.Launch{Device: "warp:9"}},
				{"{model}", "/no/such/model.gguf", process.Launch{Model: "/no/such/model.gguf"}},
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

// expectRefusal runs a command that must not start, and returns its last line.
func expectRefusal(ctx SpecContext, subject *target.Target, launch process.Launch, port int) string {
	GinkgoHelper()
	code, output, err := process.Run(ctx, subject.Launch(launch), port)
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

// start starts a worker of the spec's own and returns its client.
func start(ctx SpecContext, subject *target.Target) (*process.Process, *wire.Client) {
	GinkgoHelper()
	worker, err := subject.Start(ctx, process.Launch{})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(worker.Kill)
	client := subject.ClientOf(worker)
	DeferCleanup(client.Close)
	return worker, client
}
