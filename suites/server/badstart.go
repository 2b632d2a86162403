package server

import (
	"touchstone/suites/internal/damaged"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native/gguf"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/process"
	"touchstone/suites/target"
)

// registerBadStart adds the specs of what the worker's process must refuse to start with.
func registerBadStart(subject func() *target.Target) {
	Describe("errors at the start", requirement.Claim("server.refuses-bad-start"), func() {
		DescribeTable("model file: a damaged one is refused with one line",
			func(ctx SpecContext, damage func([]byte, *gguf.File) []byte) {
				subject().Require(target.HTTP, target.Restart)
				if !subject().CommandTakes("{model}") {
					Skip("needs a command line with {model}")
				}
				path := damaged.File(subject().Profile.Model, damage)
				port, err := process.FreePort()
				Expect(err).NotTo(HaveOccurred())
				code, output, err := process.Run(ctx, subject().Launch(process.Launch{Model: path}), port)
				Expect(err).NotTo(HaveOccurred())
				evidence.Observe("exit code and output", map[string]any{"exit code": code, "output": output}, "")
				Expect(code).To(BeNumerically(">", 0), output)
				Expect(output).To(ContainSubstring(path), "the message names the file")
				Expect(output).NotTo(ContainSubstring("goroutine "), "a crash is no message")
			},
			Entry("cut short", SpecTimeout(specTimeout), func(text []byte, _ *gguf.File) []byte { return text[:len(text)/2] }),
			Entry("no model at all", SpecTimeout(specTimeout), func([]byte, *gguf.File) []byte { return []byte("this is a text") }),
			Entry("empty", SpecTimeout(specTimeout), func([]byte, *gguf.File) []byte { return nil }),
		)

		It("device: one that is not there is refused, never replaced", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.HTTP, target.Restart)
			if !subject().CommandTakes("{device}") {
				Skip("needs a command line with {device}")
			}
			port, err := process.FreePort()
			Expect(err).NotTo(HaveOccurred())
			code, output, err := process.Run(ctx, subject().Launch(process.Launch{Device: "cuda:63"}), port)
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("exit code and output", map[string]any{"exit code": code, "output": output}, "")
			Expect(code).To(BeNumerically(">", 0), output)
			Expect(output).To(ContainSubstring("cuda:63"))
		})
	})
}
