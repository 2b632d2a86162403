package html_test

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"touchstone/reports"
	"touchstone/reports/internal/samples"
)

// page renders the sample and parses it.
func page(t *testing.T) (string, *html.Node) {
	t.Helper()
	report, err := reports.New([]byte(samples.Registry), samples.Ginkgo(), samples.Options())
	if err != nil {
		t.Fatal(err)
	}
	files, err := report.Render()
	if err != nil {
		t.Fatal(err)
	}
	text := files[reports.HTMLFile]
	root, err := html.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), root
}

func elements(root *html.Node) []*html.Node {
	var found []*html.Node
	for node := range root.Descendants() {
		if node.Type == html.ElementNode {
			found = append(found, node)
		}
	}
	return found
}

func attribute(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(node *html.Node) string {
	var text strings.Builder
	for n := range node.Descendants() {
		if n.Type == html.TextNode {
			text.WriteString(n.Data)
		}
	}
	return text.String()
}

func TestPageIsSelfContained(t *testing.T) {
	_, root := page(t)
	for _, node := range elements(root) {
		switch node.Data {
		case "script", "link", "iframe", "img", "object", "embed", "base":
			t.Errorf("the page has a <%s>", node.Data)
		}
		for _, a := range node.Attr {
			if strings.HasPrefix(a.Key, "on") {
				t.Errorf("<%s> has the handler %s", node.Data, a.Key)
			}
			if a.Key == "href" && !strings.HasPrefix(a.Val, "#") && !strings.HasPrefix(a.Val, "evidence/") {
				t.Errorf("a link leaves the report: %s", a.Val)
			}
		}
		if node.Data == "style" && strings.Contains(textOf(node), "url(") {
			t.Error("the style refers to a file")
		}
	}
}

func TestPageHasTheStructureAReaderNeeds(t *testing.T) {
	_, root := page(t)
	count := map[string]int{}
	ids := map[string]bool{}
	level := 0
	for _, node := range elements(root) {
		count[node.Data]++
		if id := attribute(node, "id"); id != "" {
			if ids[id] {
				t.Errorf("the id %q is used twice", id)
			}
			ids[id] = true
		}
		if len(node.Data) == 2 && node.Data[0] == 'h' && node.Data[1] >= '1' && node.Data[1] <= '6' {
			now := int(node.Data[1] - '0')
			if now > level+1 {
				t.Errorf("the heading %q skips from level %d to %d", textOf(node), level, now)
			}
			level = now
		}
		if node.Data == "th" && attribute(node, "scope") == "" {
			t.Errorf("the table header %q has no scope", textOf(node))
		}
		if node.Data == "svg" && attribute(node, "aria-hidden") != "true" && (attribute(node, "role") != "img" || attribute(node, "aria-label") == "") {
			t.Error("a chart has no text for those who cannot see it")
		}
	}
	for element, want := range map[string]int{"h1": 1, "main": 1, "header": 1, "footer": 1, "nav": 1, "title": 1} {
		if count[element] != want {
			t.Errorf("the page has %d <%s>, want %d", count[element], element, want)
		}
	}
	for _, node := range elements(root) {
		if target, found := strings.CutPrefix(attribute(node, "href"), "#"); found && !ids[target] {
			t.Errorf("a link leads to #%s, which is not there", target)
		}
		if node.Data == "html" && attribute(node, "lang") == "" {
			t.Error("the page does not say its language")
		}
	}
}

func TestPageShowsVerdictFirstAndEveryRow(t *testing.T) {
	text, root := page(t)
	for _, node := range elements(root) {
		if node.Data == "h1" && textOf(node) != "FAIL 1/6" {
			t.Errorf("the head says %q", textOf(node))
		}
	}
	first, rows, found := strings.Cut(text, `<div id="requirements">`)
	if !found || !strings.Contains(first, "first divergence") || !strings.Contains(first, "go tool ginkgo run --focus=") {
		t.Error("failures do not stand first with their first divergence and how to run them again")
	}
	for _, want := range []string{`id="HTTP-01"`, `id="CUDA-01"`, "needs a CUDA device", "Time between events", "row 3 column 7", "1/2 faults", "late-answer"} {
		if !strings.Contains(rows, want) {
			t.Errorf("the rows lack %q", want)
		}
	}
}

func TestPartsThatDidNotRunAreNamed(t *testing.T) {
	text, _ := page(t)
	for _, want := range []string{"UNPROVEN 1 of 2 parts · 1 needs a CUDA device", "<li>gemm by cuBLAS: needs a CUDA device</li>"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestTextOfTheWorkerStaysText(t *testing.T) {
	text, root := page(t)
	for _, node := range elements(root) {
		if node.Data == "b" {
			t.Errorf("text of the worker became an element: %s", textOf(node))
		}
	}
	if strings.Contains(text, "</script>") {
		t.Error("text of the worker is not escaped")
	}
}

var colour = regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6});`)

// TestContrast checks each text colour on each ground it stands on: at least 4.5 to 1 (WCAG 2.2, 1.4.3).
func TestContrast(t *testing.T) {
	style, err := os.ReadFile("style.css")
	if err != nil {
		t.Fatal(err)
	}
	light, dark, found := strings.Cut(string(style), "prefers-color-scheme: dark")
	if !found {
		t.Fatal("there are no dark colours")
	}
	pairs := [][2]string{{"text", "code"}, {"quiet", "code"}}
	for _, ground := range []string{"page", "card"} {
		for _, text := range []string{"text", "quiet", "link", "passed", "failed", "unproven"} {
			pairs = append(pairs, [2]string{text, ground})
		}
	}
	for _, state := range []string{"passed", "failed", "unproven", "inconclusive", "not-run"} {
		pairs = append(pairs, [2]string{state, state + "-back"})
	}
	for scheme, rules := range map[string]string{"light": light, "dark": dark} {
		colours := map[string]string{}
		for _, match := range colour.FindAllStringSubmatch(rules, -1) {
			colours[match[1]] = match[2]
		}
		for _, pair := range pairs {
			a, b := luminance(t, colours[pair[0]]), luminance(t, colours[pair[1]])
			if ratio := (max(a, b) + 0.05) / (min(a, b) + 0.05); ratio < 4.5 {
				t.Errorf("%s: %s on %s has a contrast of %.2f to 1", scheme, pair[0], pair[1], ratio)
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	if len(hex) != 6 {
		t.Fatalf("a colour is missing: %q", hex)
	}
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		value, err := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		if err != nil {
			t.Fatal(fmt.Errorf("colour %s: %w", hex, err))
		}
		channel := float64(value) / 255
		if channel <= 0.04045 {
			channel /= 12.92
		} else {
			channel = math.Pow((channel+0.055)/1.055, 2.4)
		}
		sum += weight * channel
	}
	return sum
}
