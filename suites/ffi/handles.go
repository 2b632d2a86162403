package ffi

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/target"
)

func registerHandles(subject func() *target.Target) {
	Describe("the library", requirement.Claim("abi.interface"), func() {
		It("says its name and version", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			library, err := subject().Library()
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("version", library.Version(), "")
			Expect(library.Version()).To(MatchRegexp(`\S+ \S*[0-9]`), "a name and a version, such as \"touchstone 1.0.0\"")
		})
	})
	Describe("forks", requirement.Claim("binding.ownership"), func() {
		It("leave nothing behind when they are closed", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			context := tiny.OpenContext(subject(), tiny.Options{})
			model, err := tiny.TryLoad(context, tiny.Description(tiny.Options{}))
			Expect(err).NotTo(HaveOccurred())
			session, err := model.NewSession(native.SessionOptions{})
			Expect(err).NotTo(HaveOccurred())
			tiny.Evaluate(model, session, tiny.Tokens(2*tiny.KVBlock+5, 1))
			free := tiny.FreeBlocks(model)
			const forks = 100
			for i := range forks {
				fork, err := session.Fork(i % (2 * tiny.KVBlock))
				Expect(err).NotTo(HaveOccurred())
				Expect(fork.Close()).To(Succeed())
				Expect(tiny.FreeBlocks(model)).To(Equal(free), "free blocks of the KV cache after fork %d", i)
			}
			Expect(session.Close()).To(Succeed())
			Expect(model.Close()).To(Succeed(), "the model, once all sessions are closed")
			evidence.Observe("forks that left nothing", forks, "")
		})
	})
}
