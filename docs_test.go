package touchstone

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// settingsDocument is where every environment variable of the harness is explained.
const settingsDocument = "gates/README.md"

// repository is what documents are compared with.
type repository struct {
	files    map[string]bool   // files and folders by their path from the root
	produced []string          // folders that .gitignore names: what stands there is made, not kept
	sources  map[string]string // text of every program by its path
	targets  []string          // of the Makefile
	settings []string          // GATE_* variables that the Go code names
}

func TestDocumentsAreTrue(t *testing.T) {
	repo, documents := readRepository(t)
	for _, path := range []string{"README.md", "suites/README.md", "gates/README.md", "native/README.md", "fixtures/README.md"} {
		if documents[path] == "" {
			t.Errorf("%s is missing", path)
		}
	}
	for path, text := range documents {
		for _, problem := range repo.problems(path, text) {
			t.Errorf("%s: %s", path, problem)
		}
	}
	if len(repo.settings) == 0 {
		t.Error("no GATE_* variable was found in the Go code: the rule was checked against nothing")
	}
	for _, setting := range repo.settings {
		if !slices.Contains(settingPattern.FindAllString(documents[settingsDocument], -1), setting) {
			t.Errorf("%s does not explain %s, which the Go code reads", settingsDocument, setting)
		}
	}
}

// A sample with one untruth of each kind, and beside each its true neighbour.
func TestUntruthsAreSeen(t *testing.T) {
	repo, _ := readRepository(t)
	sample := strings.Join([]string{
		"[true](../LICENSE), [false](missing.md#part) and [elsewhere](https://example.org/missing.md)",
		"`gate1/gate1.yaml`, `gates/gate1/absent.yaml`, `../suites/*.md`, `../nowhere/`, `registry.go`, `unheard-of.go`, `application/json`",
		"`reports/out/gate1/`, `build/x`, `make gate1`, `make nothing`, `GATE_DEVICE`, `GATE_NOTHING`, `--worker-url`, `--no-such-flag`",
		"",
		"```console",
		"$ make test && make fiction",
		"$ go run ./worker serve --port 1 --report-dir x",
		"$ go tool ginkgo run --focus='x' ./gates/gate9 -- --device cpu",
		"$ GATE_CASE=x go test ./native/... ./gates/gate1",
		"$ bin/gate verify DIR --key k --port 1",
		"```",
		"",
		"    python fixtures/haiku/make.py fixtures/haiku/gone.py",
		"",
		"one ` alone",
	}, "\n")
	want := []string{
		"missing.md", "gates/gate1/absent.yaml", "../nowhere/", "unheard-of.go", "make nothing", "GATE_NOTHING", "--no-such-flag",
		"fixtures/haiku/gone.py", "make fiction", "--report-dir", "./gates/gate9", "--port", "backtick",
	}
	got := repo.problems("gates/SAMPLE.md", sample)
	for _, untruth := range want {
		if !slices.ContainsFunc(got, func(problem string) bool { return strings.Contains(problem, untruth) }) {
			t.Errorf("the untruth %q was not seen", untruth)
		}
	}
	if len(got) != len(want) {
		t.Errorf("want %d problems, got %d:\n%s", len(want), len(got), strings.Join(got, "\n"))
	}
}

func readRepository(t *testing.T) (repo repository, documents map[string]string) {
	t.Helper()
	repo = repository{files: map[string]bool{}, sources: map[string]string{}}
	documents = map[string]string{}
	for line := range strings.Lines(readText(t, ".gitignore")) {
		if folder, isRooted := strings.CutPrefix(strings.TrimSpace(line), "/"); isRooted {
			repo.produced = append(repo.produced, folder)
		}
	}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path = filepath.ToSlash(path)
		if entry.IsDir() && (slices.Contains([]string{".git", ".venv", "node_modules", "shared"}, entry.Name()) || slices.Contains(repo.produced, path+"/")) {
			return fs.SkipDir
		}
		repo.files[path] = true
		switch {
		case entry.IsDir() || path == "docs_test.go": // its samples are not the product's words
		case filepath.Ext(path) == ".md":
			documents[path] = readText(t, path)
		case sourceNames.MatchString(path):
			repo.sources[path] = readText(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, target := range targetPattern.FindAllStringSubmatch(repo.sources["Makefile"], -1) {
		repo.targets = append(repo.targets, target[1])
	}
	for path, text := range repo.sources {
		if filepath.Ext(path) != ".go" {
			continue
		}
		for _, literal := range settingLiteral.FindAllStringSubmatch(text, -1) {
			if !slices.Contains(repo.settings, literal[1]) {
				repo.settings = append(repo.settings, literal[1])
			}
		}
	}
	slices.Sort(repo.settings)
	return repo, documents
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	sourceNames    = regexp.MustCompile(`(^|/)Makefile$|^\.ci/run$|\.(go|py|sh|c|cc|cu|cuh|h|yml|yaml)$`)
	targetPattern  = regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):(?:[^=]|$)`)
	settingPattern = regexp.MustCompile(`\bGATE_[A-Z][A-Z_]*\b`)
	settingLiteral = regexp.MustCompile(`"(GATE_[A-Z][A-Z_]*)"`)

	fencePattern  = regexp.MustCompile("(?ms)^```[^\n]*\n(.*?)^```")
	spanPattern   = regexp.MustCompile("`([^`]*)`")
	continuedLine = regexp.MustCompile(`\\\n\s*`)
	linkPattern   = regexp.MustCompile(`\]\(([^)\s#]+)(?:#[^)]*)?\)`)
	pathPattern   = regexp.MustCompile(`^[\w.*/-]+$`)
	fileEnding    = regexp.MustCompile(`\.(go|md|ya?ml|json|py|sh|c|cc|cu|cuh|h|gguf|mjs|txt|html)$`)
	fencedPath    = regexp.MustCompile(`(?:^|[\s"'=])((?:worker|native|suites|gates|fixtures|reports)/[\w.*/-]+)`)
	makeCommand   = regexp.MustCompile(`(?:^|[\s=])make ([a-z][a-z0-9-]*)`)
	packagePath   = regexp.MustCompile(`(?:^|\s)(\./[\w./-]*)`)
	flagPattern   = regexp.MustCompile(`(?:^|[\s"'])--([a-z][a-z0-9-]+)`)
	commandPrompt = regexp.MustCompile(`^(?:\$ |- run: )?((?:[A-Z_]+=\S+ )*(?:make|go|bin/\w+|gate|worker) .*)`)
)

// problems lists what a document at path says that is not so.
func (r repository) problems(path, text string) []string {
	var found []string
	report := func(format string, arguments ...any) { found = append(found, fmt.Sprintf(format, arguments...)) }

	for _, setting := range settingPattern.FindAllString(text, -1) {
		if !slices.Contains(r.settings, setting) {
			report("%s is read by no Go code", setting)
		}
	}
	folder := filepath.Dir(path)
	for _, line := range codeLines(text) {
		for _, match := range fencedPath.FindAllStringSubmatch(line, -1) {
			if !r.exists(".", match[1]) {
				report("there is no %s", match[1])
			}
		}
		found = append(found, r.commandProblems(strings.TrimSpace(line))...)
	}
	for _, paragraph := range strings.Split(fencePattern.ReplaceAllString(text, "\n"), "\n\n") {
		if strings.Count(paragraph, "`")%2 != 0 {
			report("a backtick without its partner in %.60q", strings.TrimSpace(paragraph))
			continue
		}
		for _, span := range spanPattern.FindAllStringSubmatch(paragraph, -1) {
			code := strings.Join(strings.Fields(span[1]), " ")
			if r.looksLikePath(folder, code) && !r.exists(folder, code) {
				report("there is no %s", code)
			}
			found = append(found, r.commandProblems(code)...)
		}
		for _, link := range linkPattern.FindAllStringSubmatch(spanPattern.ReplaceAllString(paragraph, ""), -1) {
			if !strings.Contains(link[1], ":") && !r.files[filepath.ToSlash(filepath.Join(folder, link[1]))] {
				report("the link to %s leads nowhere", link[1])
			}
		}
	}
	return found
}

// codeLines are the lines of a document's code blocks, fenced or indented, with continued lines joined.
func codeLines(text string) []string {
	var lines []string
	for _, block := range fencePattern.FindAllStringSubmatch(text, -1) {
		lines = append(lines, strings.Split(continuedLine.ReplaceAllString(block[1], " "), "\n")...)
	}
	for line := range strings.Lines(continuedLine.ReplaceAllString(fencePattern.ReplaceAllString(text, ""), " ")) {
		if strings.HasPrefix(line, "    ") {
			lines = append(lines, line)
		}
	}
	return lines
}

// looksLikePath tells whether code in a document of a folder names a file or folder of this repository.
func (r repository) looksLikePath(folder, code string) bool {
	if !pathPattern.MatchString(code) || strings.HasPrefix(code, "/") {
		return false
	}
	first, _, isNested := strings.Cut(code, "/")
	switch {
	case !isNested:
		return fileEnding.MatchString(code)
	case first == "." || first == "..":
		return true
	}
	return r.files[first] || r.files[filepath.ToSlash(filepath.Join(folder, first))] || fileEnding.MatchString(code)
}

// exists tells whether a path, with * for any name, is there as seen from folder or the root, or is made there. A bare file
// name may lie anywhere, or be written by a program that names it.
func (r repository) exists(folder, path string) bool {
	path = strings.TrimSuffix(strings.TrimSuffix(path, "..."), "/")
	for _, made := range r.produced {
		if strings.HasPrefix(path+"/", made) {
			return true
		}
	}
	wanted := []string{filepath.ToSlash(filepath.Join(folder, path)), filepath.ToSlash(filepath.Clean(path))}
	for file := range r.files {
		for _, pattern := range wanted {
			if matches, err := filepath.Match(pattern, file); err == nil && matches {
				return true
			}
		}
		if !strings.Contains(path, "/") && filepath.Base(file) == path {
			return true
		}
	}
	return !strings.Contains(path, "/") && r.anySourceSays("", `"`+path+`"`)
}

// commandProblems checks the targets, packages and flags of one command, or a flag that stands alone.
func (r repository) commandProblems(code string) []string {
	var found []string
	command := ""
	if match := commandPrompt.FindStringSubmatch(code); match != nil {
		command = match[1]
	}
	for _, match := range makeCommand.FindAllStringSubmatch(command, -1) {
		if !slices.Contains(r.targets, match[1]) {
			found = append(found, fmt.Sprintf("make %s is no target of the Makefile", match[1]))
		}
	}
	if strings.Contains(command, "go ") {
		for _, match := range packagePath.FindAllStringSubmatch(command, -1) {
			if !r.isPackage(match[1]) {
				found = append(found, fmt.Sprintf("%s is no package of this module, in %q", match[1], code))
			}
		}
	}
	for _, match := range flagPattern.FindAllStringSubmatch(code, -1) {
		folder := flagFolder(command)
		if !r.anySourceSays(folder, `"`+match[1]+`"`) && (folder != "" || !r.anySourceSays("", "--"+match[1])) {
			found = append(found, fmt.Sprintf("nothing takes the flag --%s, in %q", match[1], code))
		}
	}
	return found
}

// flagFolder is where the flags of a command are declared; "" where that may be anywhere.
func flagFolder(command string) string {
	switch {
	case strings.HasPrefix(command, "bin/gate run "):
		return "" // what describes the subject is declared in suites/target
	case strings.Contains(command, "run ./worker") || strings.HasPrefix(command, "bin/worker") || strings.HasPrefix(command, "worker "):
		return "worker/"
	case strings.Contains(command, "run ./gates/cmd/gate") || strings.HasPrefix(command, "bin/gate") || strings.HasPrefix(command, "gate "):
		return "gates/cmd/gate/"
	}
	return ""
}

// isPackage tells whether a path such as ./gates/gate1 or ./native/... holds Go files.
func (r repository) isPackage(path string) bool {
	path, isTree := strings.CutSuffix(path, "...")
	folder := filepath.ToSlash(filepath.Clean(path))
	for file := range r.sources {
		inside := filepath.Dir(file) == folder || isTree && (folder == "." || strings.HasPrefix(file, folder+"/"))
		if inside && filepath.Ext(file) == ".go" {
			return true
		}
	}
	return false
}

func (r repository) anySourceSays(folder, text string) bool {
	for path, source := range r.sources {
		if strings.HasPrefix(path, folder) && strings.Contains(source, text) {
			return true
		}
	}
	return false
}
