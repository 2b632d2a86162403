package teeth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"touchstone/fixtures/saboteurs"
	"touchstone/reports"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
	"touchstone/suites/toolchain"
)

// Tools are the programs that a trial runs, built once.
type Tools struct {
	Root     string // of the repository
	Folder   string // for what trials need
	Gate     string // the gate command
	Worker   string // the bundled worker
	Sabotage string // the command that stands in for a worker
	Saboteur string // the library that wraps a native one
	Native   string // the native library to wrap
}

// Build compiles the tools into a folder. Programs in Go are taken from GATE_TOOLS if it is set (gates/README.md), and the
// library to wrap is the one that GATE_NATIVE_LIB names, if it names one.
func Build(ctx context.Context, root, folder string) (Tools, error) {
	programs := folder
	prebuilt := toolchain.ToolsFolder()
	if prebuilt != "" {
		programs = prebuilt
	}
	tools := Tools{
		Root: root, Folder: folder, Gate: filepath.Join(programs, "gate"), Worker: filepath.Join(programs, "worker"), Sabotage: filepath.Join(programs, "sabotage"),
		Saboteur: filepath.Join(folder, "libsaboteur.so"), Native: os.Getenv("GATE_NATIVE_LIB"),
	}
	commands := [][]string{append([]string{"cc"}, saboteurs.NativeBuild(tools.Saboteur)...)}
	if prebuilt == "" {
		commands = append(commands,
			[]string{"go", "build", "-o", tools.Gate, "./gates/cmd/gate"},
			[]string{"go", "build", "-o", tools.Worker, "./worker"},
			[]string{"go", "build", "-o", tools.Sabotage, "./fixtures/saboteurs/cmd/sabotage"})
	}
	if tools.Native == "" {
		tools.Native = filepath.Join(folder, "libtouchstone.so")
		commands = append(commands, []string{"native/build-lib.sh", tools.Native})
	}
	for _, command := range commands {
		build := exec.CommandContext(ctx, command[0], command[1:]...)
		build.Dir = root
		if output, err := build.CombinedOutput(); err != nil {
			return Tools{}, fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, output)
		}
	}
	return tools, nil
}

// Outcome is what a trial showed.
type Outcome struct {
	Trial
	Killed  bool          `json:"killed"`           // the row FAILED with the message that the fault expects, and so did the gate
	State   verdict.State `json:"state"`            // of the row
	Reason  string        `json:"reason"`           // the message that the fault expects, or else the first one
	Others  []string      `json:"others,omitempty"` // other rows of the layer that turned red
	Line    string        `json:"line"`             // the report's verdict
	Seconds float64       `json:"seconds"`
}

// stopGrace is how long a suite gets to clean up after an interrupt before it is killed.
const stopGrace = 20 * time.Second

// Control runs a gate on rows behind an injector, saboteurs.HTTP or saboteurs.Native, that plays no fault. Red rows are in Others.
func (t Tools) Control(ctx context.Context, gate string, injector saboteurs.Door, rows []string, reportDir string) (Outcome, error) {
	return t.Play(ctx, Trial{Gate: gate, Fault: saboteurs.None}, saboteurs.Fault{Name: saboteurs.None, Door: injector}, rows, reportDir)
}

// Green tells of a control that no row was red: a subject that never starts leaves none green.
func (o Outcome) Green() bool { return o.Fault == saboteurs.None && len(o.Others) == 0 && o.Line != "" }

// Play runs the trial's gate on rows with its fault in place.
func (t Tools) Play(ctx context.Context, trial Trial, fault saboteurs.Fault, rows []string, reportDir string) (Outcome, error) {
	environment, err := t.inject(trial, fault)
	if err != nil {
		return Outcome{}, err
	}
	suite := exec.CommandContext(ctx, t.Gate, "run", trial.Gate, "--label-filter", anyOf(rows))
	suite.Dir = t.Root
	suite.Env = append(os.Environ(), "GATE_REPORT_DIR="+reportDir, "GATE_REQUIRE_COMPLETE=false", "GATE_TEETH=", "GATE_PLAN=",
		"GITHUB_ACTIONS=", "GITHUB_STEP_SUMMARY=")
	suite.Env = append(suite.Env, environment...)
	suite.Cancel = func() error { return suite.Process.Signal(syscall.SIGINT) }
	suite.WaitDelay = stopGrace
	var output bytes.Buffer
	suite.Stdout, suite.Stderr = &output, &output
	started := time.Now()
	runErr := suite.Run()
	took := time.Since(started)

	result, err := readResult(reportDir)
	if err != nil {
		return Outcome{}, fmt.Errorf("fault %s left no report: %w (%w)\n%s", trial.Fault, err, errors.Join(runErr, ctx.Err()), tail(output.String()))
	}
	outcome := judge(trial, fault, result, runErr != nil)
	outcome.Seconds = took.Seconds()
	return outcome, nil
}

// judge says what a trial showed from the report of its run and whether the run exited with a failure.
func judge(trial Trial, fault saboteurs.Fault, result verdict.Result, exitedRed bool) Outcome {
	outcome := Outcome{Trial: trial, Line: result.Line}
	for _, row := range result.Rows {
		red := row.State == verdict.Failed || row.State == verdict.Inconclusive
		switch {
		case row.ID == trial.Row:
			message, expected := expectedMessage(fault, row)
			outcome.State, outcome.Reason = row.State, message
			// A SHOULD row has no weight in the verdict.
			gateSaysSo := row.Level == requirement.Should || result.Verdict == verdict.Fail && exitedRed
			outcome.Killed = row.State == verdict.Failed && expected && gateSaysSo
		case red:
			outcome.Others = append(outcome.Others, row.ID)
			if trial.Row == "" {
				outcome.Reason += row.ID + ": " + reason(row) + "\n"
			}
		}
	}
	return outcome
}

// expectedMessage finds the failure of a row that the fault expects; without one it gives what the row says.
func expectedMessage(fault saboteurs.Fault, row verdict.Row) (message string, expected bool) {
	expect := regexp.MustCompile(fault.Expect)
	for _, spec := range row.Specs {
		if spec.Failure != nil && expect.MatchString(spec.Failure.Message) {
			return strings.Join(strings.Fields(spec.Failure.Message), " "), true
		}
	}
	return reason(row), false
}

// inject is the environment that puts a fault in place: a library around the native one, in the harness and in the worker, or
// a proxy and a process around the worker, by a profile of the subject.
func (t Tools) inject(trial Trial, fault saboteurs.Fault) ([]string, error) {
	if fault.Door == saboteurs.Native {
		return []string{"GATE_NATIVE_LIB=" + t.Saboteur, "SABOTEUR_LIBRARY=" + t.Native, "SABOTEUR_FAULT=" + fault.Name}, nil
	}
	profile, err := os.CreateTemp(t.Folder, "profile-*.yaml")
	if err != nil {
		return nil, err
	}
	command := fmt.Sprintf("%s --fault %s --listen 127.0.0.1:{port} -- %s serve --port {inner} --model {model} --device {device}", t.Sabotage, fault.Name, t.Worker)
	_, err = fmt.Fprintf(profile, "command: %q\noptions-of: touchstone\n", command)
	environment := []string{"GATE_PROFILE=" + profile.Name(), "GATE_NATIVE_LIB="}
	if trial.Native {
		environment[1] += t.Native
	}
	return environment, errors.Join(err, profile.Close())
}

// anyOf is the label filter that matches any of the rows.
func anyOf(rows []string) string { return strings.Join(rows, " || ") }

// reason says in one line why a row is not green.
func reason(row verdict.Row) string {
	for _, spec := range row.Specs {
		if spec.Failure != nil {
			return strings.Join(strings.Fields(spec.Failure.Message), " ")
		}
	}
	return strings.Join(row.Reasons, "; ")
}

func readResult(reportDir string) (verdict.Result, error) {
	content, err := os.ReadFile(filepath.Join(reportDir, reports.ReportFile))
	if err != nil {
		return verdict.Result{}, err
	}
	var document reports.Document
	if err := json.Unmarshal(content, &document); err != nil {
		return verdict.Result{}, err
	}
	return document.Result, nil
}

// tail keeps the end of an output, where the cause of a failure stands.
func tail(output string) string {
	const most = 2000
	return output[max(0, len(output)-most):]
}
