package gate_test

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
	"golang.org/x/net/html"
)

// expectHarmless checks what a CI service or a terminal would act on in a log, line by line; ours are the commands that the
// gate itself means.
func expectHarmless(log string, ours ...string) {
	GinkgoHelper()
	Expect(log).NotTo(MatchRegexp(`[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{202a}-\x{202e}\x{2028}\x{2029}]`), "control characters")
	Expect(log).NotTo(ContainSubstring("##["), "commands of older runners")
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		meant := false
		for _, prefix := range ours {
			meant = meant || strings.HasPrefix(line, prefix)
		}
		Expect(meant || !strings.HasPrefix(line, "::")).To(BeTrue(), line)
	}
}

var _ = Describe("What a hostile subject writes", Ordered, func() {
	var got outcome
	var summary string
	read := func(name string) string {
		GinkgoHelper()
		content, err := os.ReadFile(filepath.Join(got.dir, name))
		Expect(err).NotTo(HaveOccurred())
		return string(content)
	}
	BeforeAll(func() {
		file := filepath.Join(GinkgoT().TempDir(), "summary.md")
		got = runSample("hostile", []string{"-ginkgo.no-color"}, environment("GITHUB_ACTIONS=true", "GITHUB_STEP_SUMMARY="+file))
		content, err := os.ReadFile(file)
		Expect(err).NotTo(HaveOccurred())
		summary = string(content)
		for _, output := range []string{got.output, summary} {
			Expect(output).To(ContainSubstring("stop-commands"), "it is there to be seen")
		}
	})

	It("is text in the terminal and in the log of CI, annotations included", func() {
		expectHarmless(got.output, "::error title=HTTP-01 Answers%3A FAILED,file=", "::group::", "::endgroup::")
		Expect(got.output).To(ContainSubstring("::error title=HTTP-01"))
	})

	It("is text in the terminal of parallel processes", func() {
		parallel := runSample("hostile", []string{ginkgoBinary, "--procs=2", "--no-color"})
		Expect(parallel.output).To(ContainSubstring("stop-commands"))
		expectHarmless(parallel.output)
	})

	It("is text in the job summary and the checklist: no link, image or markup, and no cell of a table", func() {
		for _, page := range []string{summary, read("checklist.md")} {
			expectHarmless(page)
			markdown := goldmark.New(goldmark.WithExtensions(extension.GFM))
			err := ast.Walk(markdown.Parser().Parse(text.NewReader([]byte(page))), func(node ast.Node, entering bool) (ast.WalkStatus, error) {
				switch node := node.(type) {
				case *ast.Link, *ast.Image, *ast.HTMLBlock:
					Fail("the page has a " + node.Kind().String())
				case *ast.AutoLink:
					Expect(string(node.URL([]byte(page)))).To(BeEmpty(), "a link of an address")
				case *ast.RawHTML:
					Expect(string(node.Segments.Value([]byte(page)))).To(Equal("<!-- -->"), "only ours, which parts an address")
				}
				return ast.WalkContinue, nil
			})
			Expect(err).NotTo(HaveOccurred())
			for line := range strings.Lines(page) {
				if strings.HasPrefix(line, "| ") {
					Expect(strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")).To(Equal(8), line)
				}
			}
		}
	})

	It("is text in report.html", func() {
		root, err := html.Parse(strings.NewReader(read("report.html")))
		Expect(err).NotTo(HaveOccurred())
		for node := range root.Descendants() {
			if node.Type == html.TextNode && node.Parent.Data != "style" {
				expectHarmless(node.Data)
			}
			if node.Type != html.ElementNode {
				continue
			}
			Expect(node.Data).NotTo(BeElementOf("script", "img", "iframe", "object"))
			for _, attribute := range node.Attr {
				expectHarmless(attribute.Val)
				if attribute.Key == "href" {
					Expect(attribute.Val).To(MatchRegexp(`^(#|evidence/[A-Z0-9-]+/[0-9a-f]{64}\.)`))
				}
			}
		}
	})

	It("is text in junit.xml", func() {
		decoder := xml.NewDecoder(bytes.NewReader([]byte(read("junit.xml"))))
		for {
			token, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			Expect(err).NotTo(HaveOccurred())
			switch token := token.(type) {
			case xml.CharData:
				expectHarmless(string(token))
			case xml.StartElement:
				Expect(token.Name.Local).NotTo(Equal("script"))
				for _, attribute := range token.Attr {
					expectHarmless(attribute.Value)
				}
			}
		}
	})

	It("does not keep its report from being verified", func() {
		Expect(differences(got.dir, known())).To(BeEmpty())
	})
})

var _ = Describe("A secret", func() {
	It("that the run was given is nowhere in its report or output, nor one that a header or URL carries", func() {
		for _, arguments := range [][]string{{"-ginkgo.v"}, {ginkgoBinary, "--procs=2"}} {
			got := runSample("secrets", arguments)
			Expect(got.exit).To(Equal(1), got.output)
			all := got.output
			Expect(filepath.WalkDir(got.dir, func(path string, entry fs.DirEntry, err error) error {
				if err != nil || entry.IsDir() {
					return err
				}
				content, err := os.ReadFile(path)
				all += string(content)
				return err
			})).To(Succeed())
			Expect(all).To(ContainSubstring("--url http://[hidden]@host"), "the command to run it again")
			Expect(all).NotTo(MatchRegexp(`hunter2|sk-\\*"1|Bearer another|me:another`))
			Expect(differences(got.dir, known())).To(BeEmpty())
		}
	})
})
