package reports_test

import (
	"bytes"
	_ "embed"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"touchstone/reports"
	"touchstone/reports/internal/samples"
	"touchstone/reports/verdict"
)

func TestReports(t *testing.T) {
	RegisterFailHandler(Fail)
	RunSpecs(t, "Reports")
}

//go:embed report.schema.json
var schemaText []byte

func newSample() *reports.Report {
	GinkgoHelper()
	report, err := reports.New([]byte(samples.Registry), samples.Ginkgo(), samples.Options())
	Expect(err).NotTo(HaveOccurred())
	return report
}

func render(report *reports.Report) map[string][]byte {
	GinkgoHelper()
	files, err := report.Render()
	Expect(err).NotTo(HaveOccurred())
	return files
}

var _ = Describe("The sample", func() {
	It("has a row in every state", func() {
		states := map[string]verdict.State{}
		for _, row := range newSample().Result.Rows {
			states[row.ID] = row.State
		}
		Expect(states).To(Equal(map[string]verdict.State{"HTTP-01": verdict.Passed, "HTTP-02": verdict.Failed, "CUDA-01": verdict.NotRun,
			"KRN-01": verdict.Unproven, "KRN-02": verdict.Failed, "INT-01": verdict.Inconclusive}))
	})
})

var _ = Describe("report.json", func() {
	compile := func() *jsonschema.Schema {
		GinkgoHelper()
		document, err := jsonschema.UnmarshalJSON(bytes.NewReader(schemaText))
		Expect(err).NotTo(HaveOccurred())
		compiler := jsonschema.NewCompiler()
		compiler.AssertFormat()
		Expect(compiler.AddResource("report.schema.json", document)).To(Succeed())
		schema, err := compiler.Compile("report.schema.json")
		Expect(err).NotTo(HaveOccurred())
		return schema
	}
	validate := func(text string) error {
		document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		Expect(err).NotTo(HaveOccurred())
		return compile().Validate(document)
	}

	It("satisfies its schema", func() {
		Expect(validate(string(render(newSample())["report.json"]))).To(Succeed())
	})

	DescribeTable("its schema refuses",
		func(old, replacement string) {
			text := string(render(newSample())["report.json"])
			Expect(text).To(ContainSubstring(old))
			Expect(validate(strings.Replace(text, old, replacement, 1))).NotTo(Succeed())
		},
		Entry("an unknown state", `"state": "NOT RUN"`, `"state": "GREEN"`),
		Entry("a verdict line without its subject", `"line": "FAIL 1/6 · worker`, `"line": "Gate 1 passed`),
		Entry("an unknown field", `"exitCode"`, `"exit": 0, "exitCode"`),
		Entry("another version", `"schemaVersion": 1`, `"schemaVersion": 2`),
	)
})

// The elements and attributes that the Jenkins and Surefire schemas allow, as far as this project writes
// them, with the children each may have.
var junitChildren = map[string]string{
	"testsuites": "testsuite", "testsuite": "properties testcase", "properties": "property", "property": "",
	"testcase": "skipped error failure system-out", "skipped": "", "error": "", "failure": "", "system-out": "",
}
var junitAttributes = map[string]string{
	"testsuites": "name tests failures errors time", "testsuite": "name tests failures errors skipped time timestamp",
	"property": "name value", "testcase": "name classname time", "skipped": "message", "error": "message type", "failure": "message type",
}

type junitCounts struct{ tests, failures, errors, skipped int }

var _ = Describe("junit.xml", func() {
	It("has the common structure, and counts that add up", func() {
		decoder := xml.NewDecoder(bytes.NewReader(render(newSample())["junit.xml"]))
		var path []string
		var suite, total junitCounts
		declared := map[string]map[string]string{}
		outcomes := 0
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			Expect(err).NotTo(HaveOccurred())
			switch element := token.(type) {
			case xml.StartElement:
				name := element.Name.Local
				if len(path) > 0 {
					Expect(strings.Fields(junitChildren[path[len(path)-1]])).To(ContainElement(name))
				} else {
					Expect(name).To(Equal("testsuites"))
				}
				path = append(path, name)
				attributes := map[string]string{}
				for _, attribute := range element.Attr {
					Expect(strings.Fields(junitAttributes[name])).To(ContainElement(attribute.Name.Local), name)
					attributes[attribute.Name.Local] = attribute.Value
				}
				for _, required := range strings.Fields(junitAttributes[name]) {
					Expect(attributes).To(HaveKey(required), name)
				}
				if at, found := attributes["time"]; found {
					_, err := strconv.ParseFloat(at, 64)
					Expect(err).NotTo(HaveOccurred())
				}
				if at, found := attributes["timestamp"]; found {
					Expect(at).To(MatchRegexp(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`))
				}
				declared[name] = attributes
				switch name {
				case "testsuite":
					suite = junitCounts{}
				case "testcase":
					suite.tests++
					outcomes = 0
				case "failure":
					suite.failures++
					outcomes++
				case "error":
					suite.errors++
					outcomes++
				case "skipped":
					suite.skipped++
					outcomes++
				}
			case xml.EndElement:
				path = path[:len(path)-1]
				switch element.Name.Local {
				case "testcase":
					Expect(outcomes).To(BeNumerically("<=", 1), "a testcase has one outcome")
				case "testsuite":
					expectCounts(declared["testsuite"], suite)
					Expect(declared["testsuite"]["skipped"]).To(Equal(fmt.Sprint(suite.skipped)))
					total.tests, total.failures, total.errors = total.tests+suite.tests, total.failures+suite.failures, total.errors+suite.errors
				}
			}
		}
		expectCounts(declared["testsuites"], total)
		Expect(total.failures).To(Equal(2), "HTTP-02 and KRN-02")
		Expect(total.errors).To(Equal(2), "KRN-01 unproven, INT-01 inconclusive")
	})

	It("gives the reason of a row that did not run", func() {
		Expect(string(render(newSample())["junit.xml"])).To(ContainSubstring(`<skipped message="needs a CUDA device">`))
	})

	It("skips the part of a spec that did not run", func() {
		Expect(string(render(newSample())["junit.xml"])).To(MatchRegexp(`<testcase name="sample multiplies: gemm by cuBLAS"[^>]*>\s*<skipped message="needs a CUDA device">`))
	})
})

func expectCounts(declared map[string]string, counted junitCounts) {
	GinkgoHelper()
	Expect(declared["tests"]).To(Equal(fmt.Sprint(counted.tests)))
	Expect(declared["failures"]).To(Equal(fmt.Sprint(counted.failures)))
	Expect(declared["errors"]).To(Equal(fmt.Sprint(counted.errors)))
}

var _ = Describe("checklist.md", func() {
	It("says the verdict with its subject before anything else", func() {
		lines := strings.Split(string(render(newSample())["checklist.md"]), "\n")
		Expect(lines[0]).To(Equal("# sample Sample &lt;of all states&gt; FAIL"))
		Expect(lines[2]).To(HavePrefix("**FAIL 1/6 · worker touchstone (sha256 "))
	})

	It("shows failures first, with both sides, the first divergence and how to run them again", func() {
		page := string(render(newSample())["checklist.md"])
		failures, table, found := strings.Cut(page, "## All 6 requirements")
		Expect(found).To(BeTrue())
		Expect(failures).To(ContainSubstring("### ❌ HTTP-02 Streams \\| one by one: FAILED"))
		Expect(failures).To(ContainSubstring("expected:         [1 2 3]\ngot:              [1 9 3]\nfirst divergence: index 1"))
		Expect(failures).To(ContainSubstring("go tool ginkgo run --focus='sample streams token by token$' ./gates/sample"))
		Expect(failures).To(ContainSubstring("waived by Kim until 2030-01-31: rounding under review"))
		Expect(failures).To(ContainSubstring("### ❓ INT-01 Survives: INCONCLUSIVE"))
		Expect(table).To(ContainSubstring("| ✅ | HTTP-01 | Answers | PASSED | p99 3.25 ms · text \"&lt;b&gt;&amp; \\| \\`tick\\`\" · execute: 200, 10 events in 100 ms | 1/2 faults | 1.5 s |"))
		Expect(table).To(ContainSubstring("| 🟡 | KRN-01 | Multiplies | UNPROVEN 1 of 2 parts · 1 needs a CUDA device |"))
		Expect(table).To(ContainSubstring("| ⚪ | CUDA-01 | Finds its device | NOT RUN | needs a CUDA device |"))
	})

	It("has as many cells in each row of its tables as in their heads", func() {
		unescaped := regexp.MustCompile(`(^|[^\\])\|`)
		for _, line := range strings.Split(string(render(newSample())["checklist.md"]), "\n") {
			if strings.HasPrefix(line, "|") {
				Expect(unescaped.FindAllString(line, -1)).To(HaveLen(8), line)
			}
		}
	})
})

var _ = Describe("Write", func() {
	It("writes every file, and replaces an older report whole", func() {
		dir := filepath.Join(GinkgoT().TempDir(), "new", "out")
		report := newSample()
		Expect(reports.Write(dir, report)).To(Succeed())
		report.Evidence["evidence/HTTP-01/stale.json"] = nil
		Expect(reports.Write(dir, report)).To(Succeed())
		delete(report.Evidence, "evidence/HTTP-01/stale.json")
		Expect(reports.Write(dir, report)).To(Succeed())
		Expect(filepath.Join(dir, "evidence", "HTTP-01", "stale.json")).NotTo(BeAnExistingFile())
		for name, content := range render(report) {
			Expect(os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))).To(Equal(content), name)
		}
		Expect(os.ReadDir(filepath.Dir(dir))).To(HaveLen(1), "nothing unfinished is left")
	})

	It("leaves a folder that is no report alone", func() {
		dir := GinkgoT().TempDir()
		Expect(os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o644)).To(Succeed())
		Expect(reports.Write(dir, newSample())).To(MatchError(ContainSubstring("holds files but no report")))
		Expect(filepath.Join(dir, "thesis.txt")).To(BeAnExistingFile())
	})

	It("follows a link to the folder it writes", func() {
		parent := GinkgoT().TempDir()
		link := filepath.Join(parent, "link")
		Expect(os.Mkdir(filepath.Join(parent, "out"), 0o755)).To(Succeed())
		Expect(os.Symlink("out", link)).To(Succeed())
		for range 2 {
			Expect(reports.Write(link, newSample())).To(Succeed())
		}
		Expect(os.Readlink(link)).To(Equal("out"))
		Expect(filepath.Join(parent, "out", "report.json")).To(BeAnExistingFile())
	})

	DescribeTable("leaves a folder untouched that holds, beside a report,",
		func(name string) {
			dir := filepath.Join(GinkgoT().TempDir(), "out")
			Expect(reports.Write(dir, newSample())).To(Succeed())
			if strings.HasSuffix(name, "/") {
				Expect(os.MkdirAll(filepath.Join(dir, name), 0o755)).To(Succeed())
			} else {
				Expect(os.WriteFile(filepath.Join(dir, name), []byte("mine"), 0o644)).To(Succeed())
			}
			Expect(reports.Write(dir, newSample())).To(MatchError(ContainSubstring("which no gate wrote")))
			Expect(reports.Clear(dir)).To(MatchError(ContainSubstring("which no gate wrote")))
			Expect(filepath.Join(dir, name)).To(Or(BeAnExistingFile(), BeADirectory()))
			Expect(filepath.Join(dir, "report.json")).To(BeAnExistingFile())
		},
		Entry("a file", "thesis.txt"), Entry("a hidden file", ".git"), Entry("a file among the evidence", "evidence/HTTP-01/thesis.txt"),
		Entry("an empty folder", "photos/"))

	It("leaves nothing behind when it fails half-way", func() {
		parent := GinkgoT().TempDir()
		report := newSample()
		report.Evidence["evidence"] = []byte("a file where a folder must be")
		Expect(reports.Write(filepath.Join(parent, "out"), report)).NotTo(Succeed())
		Expect(os.ReadDir(parent)).To(BeEmpty())
	})
})
