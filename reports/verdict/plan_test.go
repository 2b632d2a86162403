package verdict_test

import (
	"testing/fstest"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/reports/verdict"
)

var _ = Describe("Plans", func() {
	plans := verdict.Plans{"": {{Row: "B-01", Text: "b"}, {Row: "A-01", Text: "a, with\ta tab"}}, "other": {{Row: "A-01", Text: "a"}}}

	It("are read as they are written, sorted", func() {
		text := plans.Encode()
		Expect(string(text)).To(Equal("\tA-01\ta, with\ta tab\n\tB-01\tb\nother\tA-01\ta\n"))
		read, err := verdict.ParsePlans(text)
		Expect(err).NotTo(HaveOccurred())
		Expect(read.Encode()).To(Equal(text))
	})

	It("name every spec too few and too many", func() {
		Expect(plans.Compare("", []verdict.PlannedSpec{{Row: "A-01", Text: "a, with\ta tab"}, {Row: "B-01", Text: "b"}})).To(Succeed())
		Expect(plans.Compare("", []verdict.PlannedSpec{{Row: "B-01", Text: "b"}, {Row: "B-01", Text: "b"}})).To(MatchError(And(
			ContainSubstring(`the spec "b" of B-01 is not one of this harness`), ContainSubstring("of A-01 is missing"))))
		Expect(plans.Compare("third", nil)).To(MatchError(ContainSubstring(`no tree of specs "third"`)))
	})

	It("that are no plans are refused", func() {
		_, err := verdict.ParsePlans([]byte("\tA-01\ta\nA-01\n"))
		Expect(err).To(MatchError(ContainSubstring("line 2")))
	})
})

var _ = Describe("SourcesDigest", func() {
	digest := func(registry string, tree fstest.MapFS) string {
		GinkgoHelper()
		sum, err := verdict.SourcesDigest([]byte(registry), tree)
		Expect(err).NotTo(HaveOccurred())
		return sum
	}
	tree := func(name, content string) fstest.MapFS {
		return fstest.MapFS{"a.go": {Data: []byte("package a")}, name: {Data: []byte(content)}}
	}

	It("changes with every source and the registry, and with nothing else", func() {
		base := digest("rows", tree("b/b.c", "int b;"))
		Expect(digest("rows", tree("b/b.c", "int b;"))).To(Equal(base))
		Expect(digest("other", tree("b/b.c", "int b;"))).NotTo(Equal(base))
		Expect(digest("rows", tree("b/b.c", "int c;"))).NotTo(Equal(base))
		Expect(digest("rows", tree("c/b.c", "int b;"))).NotTo(Equal(base))
		with := tree("b/b.c", "int b;")
		with["b/b_test.go"], with["README.md"] = &fstest.MapFile{Data: []byte("x")}, &fstest.MapFile{Data: []byte("x")}
		Expect(digest("rows", with)).To(Equal(base))
	})
})
