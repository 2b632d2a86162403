package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"touchstone/reports"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
)

// sampleDir is the small gate whose reports these tests work on.
const sampleDir = "../../../reports/gate/testdata/sample"

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	command := newCommand()
	command.SetOut(&out)
	command.SetErr(&out)
	command.SetArgs(args)
	err := command.Execute()
	return out.String(), err
}

// sample compiles the sample gate and returns a function that runs it in a scenario and returns its report.
func sample(t *testing.T) func(scenario string) string {
	t.Helper()
	folder := t.TempDir()
	binary := filepath.Join(folder, "sample.test")
	if output, err := exec.Command("go", "test", "-c", "-o", binary, sampleDir).CombinedOutput(); err != nil {
		t.Fatalf("compile the sample gate: %v\n%s", err, output)
	}
	return func(scenario string) string {
		dir := filepath.Join(folder, strings.ReplaceAll("report "+scenario, " ", "-"))
		command := exec.Command(binary)
		command.Env = append(os.Environ(), "SCENARIO="+scenario, "GATE_REPORT_DIR="+dir, "GATE_SIGNING_KEY=", "GITHUB_ACTIONS=", "GITHUB_STEP_SUMMARY=")
		output, _ := command.CombinedOutput() // a failing scenario exits 1
		if _, err := os.Stat(dir); err != nil {
			t.Fatalf("the sample gate wrote no report:\n%s", output)
		}
		return dir
	}
}

func TestList(t *testing.T) {
	out, err := execute(t, "list")
	if err != nil || !strings.Contains(out, "gate1 Foundation, registry ") || strings.Count(out, "  MUST   ") < 27 {
		t.Fatalf("gate list: %v\n%s", err, out)
	}
	if _, err := execute(t, "list", "gate9"); err == nil || err.Error() != `there is no gate "gate9": there are gate1, openai` {
		t.Fatalf("an unknown gate gives %v", err)
	}
}

func TestTeeth(t *testing.T) {
	registry := &requirement.Registry{Gate: "sample", Rows: []requirement.Row{{ID: "HTTP-04", Title: "Streams", Faults: []string{"drop-end", "index-gap"}}}}
	known := reports.Known{SourcesSHA256: "now"}
	for name, c := range map[string]struct {
		teeth *verdict.Teeth
		want  string
	}{
		"none":          {nil, "is stale"},
		"other sources": {&verdict.Teeth{SourcesSHA256: "then"}, "is stale"},
		"a survivor": {&verdict.Teeth{SourcesSHA256: "now", Rows: map[string]verdict.TeethRow{"HTTP-04": {Killed: []string{"drop-end"}}}},
			"not seen to turn their rows red: HTTP-04 index-gap"},
		"all killed": {&verdict.Teeth{SourcesSHA256: "now", Rows: map[string]verdict.TeethRow{"HTTP-04": {Killed: []string{"drop-end", "index-gap"}}}}, ""},
	} {
		var out bytes.Buffer
		known.Teeth = c.teeth
		err := teeth(&out, known, registry)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.want, out.String())
		}
	}
	if _, err := execute(t, "teeth", "gate9"); err == nil || err.Error() != `there is no gate "gate9": there are gate1, openai` {
		t.Errorf("an unknown gate gives %v", err)
	}
}

func TestReports(t *testing.T) {
	run := sample(t)
	passing, failing := run(""), run("fails")
	registry := filepath.Join(sampleDir, "sample.yaml")

	t.Run("verify accepts an untouched report", func(t *testing.T) {
		out, err := execute(t, "verify", passing, "--registry", registry)
		if err != nil || !strings.HasPrefix(out, "ACCEPTED: not signed") || !strings.Contains(out, "\nPASS 3/3 · worker sample") {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("verify refuses a gate it does not know", func(t *testing.T) {
		out, err := execute(t, "verify", passing)
		if err == nil || !strings.Contains(out, `this harness has no gate "sample"`) {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("verify refuses another worker and an older run", func(t *testing.T) {
		out, err := execute(t, "verify", passing, "--registry", registry, "--worker", registry, "--not-before", "2999-01-01")
		if err == nil || !strings.HasPrefix(out, "REFUSED: 2 differences") || !strings.Contains(out, "another worker was tested") ||
			!strings.Contains(out, "the run is too old") {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("verify says what is wrong with its flags", func(t *testing.T) {
		for flag, want := range map[string]string{"--not-before=soon": "want a time such as", "--key=" + registry: "want an ed25519 key in PEM",
			"--registry=nowhere.yaml": "no such file", "--worker=nowhere": "no such file"} {
			if _, err := execute(t, "verify", passing, flag); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s gives %v, want %q", flag, err, want)
			}
		}
	})
	t.Run("render prints what the report holds", func(t *testing.T) {
		for format, file := range map[string]string{"markdown": "checklist.md", "json": "report.json", "junit": "junit.xml", "html": "report.html"} {
			want, err := os.ReadFile(filepath.Join(failing, file))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := execute(t, "render", failing, "--format", format); err != nil || out != string(want) {
				t.Errorf("%s: %v, or the output differs from %s", format, err, file)
			}
		}
	})
	t.Run("diff names what changed", func(t *testing.T) {
		out, err := execute(t, "diff", passing, failing)
		if err != nil || !strings.Contains(out, "PASS 3/3 → FAIL 2/3") || !strings.Contains(out, "HTTP-01  PASSED → FAILED: failed: the answer") {
			t.Fatalf("%v\n%s", err, out)
		}
		if out, err := execute(t, "diff", passing, passing); err != nil || !strings.Contains(out, "nothing changed") {
			t.Fatalf("%v\n%s", err, out)
		}
	})
	t.Run("a folder that is no report is one clear error", func(t *testing.T) {
		for _, args := range [][]string{{"verify", "/nowhere"}, {"render", t.TempDir()}, {"diff", passing, t.TempDir()}} {
			if _, err := execute(t, args...); err == nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v gives %v", args, err)
			}
		}
	})
}
