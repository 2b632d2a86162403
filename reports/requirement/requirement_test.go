package requirement_test

import (
	"strings"
	"testing/fstest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"

	"touchstone/reports/requirement"
)

const valid = `gate: demo
title: Demo
version: 1.0.0
rows:
  - id: HTTP-01
    layer: HTTP
    title: Answers
    level: MUST
    since: 1.0.0
    needs: [http]
    claims: [server.answers]
    faults: [no-answer]
    proof: It answers.
  - id: KRN-01
    layer: Kernels
    title: Adds
    level: SHOULD
    since: 1.0.0
    needs: [native]
    claims: [kernel.adds]
    faults: [adds-wrong]
    proof: It adds.
    waiver: {owner: Kim, reason: no device yet, expires: 2030-01-31}
`

func spec(text string, labels ...string) types.SpecReport {
	return types.SpecReport{LeafNodeType: types.NodeTypeIt, LeafNodeText: text, LeafNodeLabels: labels}
}

var _ = Describe("Load", func() {
	It("reads every field", func() {
		registry, err := requirement.LoadFS(fstest.MapFS{"demo.yaml": {Data: []byte(valid)}}, "demo.yaml")
		Expect(err).NotTo(HaveOccurred())
		Expect(registry.Layers()).To(Equal([]string{"HTTP", "Kernels"}))
		Expect(registry.SHA256).To(HaveLen(64))
		row, found := registry.Row("KRN-01")
		Expect(found).To(BeTrue())
		Expect(row.Level).To(Equal(requirement.Should))
		Expect(row.Waiver.Owner).To(Equal("Kim"))
	})

	DescribeTable("refuses, naming row and field",
		func(old, replacement string, want ...string) {
			Expect(valid).To(ContainSubstring(old))
			_, err := requirement.Load([]byte(strings.Replace(valid, old, replacement, 1)))
			Expect(err).To(HaveOccurred())
			for _, part := range want {
				Expect(err.Error()).To(ContainSubstring(part))
			}
		},
		Entry("an unknown field", "    proof: It adds.", "    prof: It adds.", "prof", "line 22"),
		Entry("a missing title", "    title: Adds\n", "", "KRN-01: title: missing"),
		Entry("a missing proof", "    proof: It adds.\n", "", "KRN-01: proof: missing"),
		Entry("no claim", "claims: [kernel.adds]", "claims: []", "KRN-01: claims: missing"),
		Entry("a claim of another form", "kernel.adds", "adds", `KRN-01: claims: want a form such as stream.one-terminal, got "adds"`),
		Entry("a claim of two rows", "kernel.adds", "server.answers", "KRN-01: claims: HTTP-01 lists server.answers, too"),
		Entry("no fault", "faults: [no-answer]", "faults: []", "HTTP-01: faults: missing"),
		Entry("a fault not in kebab-case", "no-answer", "noAnswer", `HTTP-01: faults: want kebab-case, got "noAnswer"`),
		Entry("a duplicate fault", "[no-answer]", "[no-answer, no-answer]", "HTTP-01: faults", "listed twice"),
		Entry("a wrong level", "SHOULD", "MAY", `KRN-01: level: want MUST or SHOULD, got "MAY"`),
		Entry("a bad id", "id: HTTP-01", "id: http1", `http1: id: want a form such as HTTP-04`),
		Entry("a duplicate id", "id: KRN-01", "id: HTTP-01", "HTTP-01: id: used twice"),
		Entry("a bad version", "version: 1.0.0", "version: one", `version: want a semantic version`),
		Entry("a bad since", "since: 1.0.0", "since: v1", `HTTP-01: since: want a semantic version`),
		Entry("no gate", "gate: demo", "gate: ''", "gate: want a lower-case name"),
		Entry("a waiver without an owner", "owner: Kim, ", "", "KRN-01: waiver.owner: missing"),
		Entry("a waiver without a date", "2030-01-31", "soon", `KRN-01: waiver.expires: want a date`),
	)

	It("refuses an empty file and a second document", func() {
		_, err := requirement.Load(nil)
		Expect(err).To(MatchError(ContainSubstring("it is empty")))
		_, err = requirement.Load([]byte(valid + "---\ngate: other\n"))
		Expect(err).To(MatchError(ContainSubstring("only one YAML document")))
	})

	It("lists everything wrong at once", func() {
		text := strings.NewReplacer("SHOULD", "MAY", "title: Answers", "title: ''").Replace(valid)
		_, err := requirement.Load([]byte(text))
		Expect(err).To(MatchError(And(ContainSubstring("KRN-01: level"), ContainSubstring("HTTP-01: title"))))
	})
})

var _ = Describe("Waiver", func() {
	It("holds through its last day", func() {
		waiver := requirement.Waiver{Expires: "2030-01-31"}
		Expect(waiver.Holds(time.Date(2030, 1, 31, 23, 59, 59, 0, time.UTC))).To(BeTrue())
		Expect(waiver.Holds(time.Date(2030, 2, 1, 0, 0, 0, 0, time.UTC))).To(BeFalse())
	})
})

var _ = Describe("CheckTree", func() {
	var registry *requirement.Registry
	BeforeEach(func() {
		var err error
		registry, err = requirement.Load([]byte(valid))
		Expect(err).NotTo(HaveOccurred())
	})
	good := func() types.SpecReports {
		return types.SpecReports{spec("answers", "server.answers", "slow"), spec("adds", "kernel.adds"), {LeafNodeType: types.NodeTypeBeforeSuite}}
	}

	It("accepts a tree that matches", func() {
		Expect(registry.CheckTree(good())).To(Succeed())
	})

	DescribeTable("refuses",
		func(change func(types.SpecReports) types.SpecReports, want string) {
			Expect(registry.CheckTree(change(good()))).To(MatchError(ContainSubstring(want)))
		},
		Entry("an unknown claim", func(s types.SpecReports) types.SpecReports { return append(s, spec("odd", "server.sings")) },
			"makes the claim server.sings, which no row"),
		Entry("a spec without a claim", func(s types.SpecReports) types.SpecReports { return append(s, spec("stray", "slow")) },
			`spec "stray"`),
		Entry("a spec with two claims", func(s types.SpecReports) types.SpecReports {
			return append(s, spec("both", "server.answers", "kernel.adds"))
		},
			"makes 2 claims (server.answers, kernel.adds)"),
		Entry("a claim without a spec", func(s types.SpecReports) types.SpecReports { return s[:1] },
			"row KRN-01 (Adds) lists the claim kernel.adds, which no spec makes"),
		Entry("FlakeAttempts", func(s types.SpecReports) types.SpecReports { s[0].MaxFlakeAttempts = 3; return s },
			"FlakeAttempts(3)"),
	)

	It("refuses a row without a fault", func() {
		registry.Rows[0].Faults = nil
		Expect(registry.CheckTree(good())).To(MatchError(ContainSubstring("row HTTP-01 (Answers) has no fault")))
	})
})

var _ = Describe("Arm", func() {
	source := strings.NewReplacer("    faults: [no-answer]\n", "", "    faults: [adds-wrong]\n", "").Replace(valid)
	faults := []requirement.Fault{
		{Name: "no-answer", Claims: []string{"server.answers"}}, {Name: "adds-wrong", Claims: []string{"kernel.adds"}},
		{Name: "elsewhere", Claims: []string{"stream.ends"}}, {Name: "nothing-works", Claims: []string{"server.answers", "kernel.adds"}},
	}

	It("gives each row the faults of its claims", func() {
		armed, err := requirement.Arm([]byte(source), faults)
		Expect(err).NotTo(HaveOccurred())
		registry, err := requirement.Load(armed)
		Expect(err).NotTo(HaveOccurred())
		Expect(registry.Rows[0].Faults).To(Equal([]string{"no-answer", "nothing-works"}))
		Expect(registry.Rows[1].Faults).To(Equal([]string{"adds-wrong", "nothing-works"}))
	})

	It("refuses a row that no fault can turn red, and faults written by hand", func() {
		_, err := requirement.Arm([]byte(source), faults[:1])
		Expect(err).To(MatchError(ContainSubstring("KRN-01: no fault breaks any of its claims [kernel.adds]")))
		_, err = requirement.Arm([]byte(valid), faults)
		Expect(err).To(MatchError(ContainSubstring("HTTP-01: faults: they follow from the claims")))
	})
})
