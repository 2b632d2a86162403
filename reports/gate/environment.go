package gate

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"touchstone/reports/attest"
	"touchstone/reports/markdown"
	"touchstone/reports/verdict"
)

func (g *Gate) applyEnvironment() error {
	if dir := os.Getenv("GATE_REPORT_DIR"); dir != "" {
		g.ReportDir = dir
	}
	if g.ReportDir == "" {
		return errors.New("no report directory: set Gate.ReportDir or GATE_REPORT_DIR")
	}
	if file := os.Getenv("GATE_SIGNING_KEY"); file != "" {
		g.SigningKey = file
	}
	for _, setting := range []struct {
		name  string
		field *bool
	}{{"GATE_REQUIRE_COMPLETE", &g.RequireComplete}, {"GATE_REDACT", &g.Redact}} {
		value := os.Getenv(setting.name)
		if value == "" {
			continue
		}
		wanted, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%s: want true or false, got %q", setting.name, value)
		}
		*setting.field = *setting.field || wanted
	}
	return nil
}

// teeth is read before anything runs, for the same reason as the key.
func (g *Gate) teeth() (*verdict.Teeth, error) {
	text := g.Teeth
	if file := os.Getenv("GATE_TEETH"); file != "" {
		given, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read the outcome of the faults: %w", err)
		}
		text = given
	}
	if len(text) == 0 {
		return nil, nil
	}
	return verdict.ReadTeeth(text)
}

// signingKey is read before anything runs, so that a wrong key costs no run.
func (g *Gate) signingKey() (*attest.Key, error) {
	if g.SigningKey == "" {
		return nil, nil
	}
	text, err := os.ReadFile(g.SigningKey)
	if err != nil {
		return nil, fmt.Errorf("read the signing key: %w", err)
	}
	key, err := attest.PrivateKey(text)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", g.SigningKey, err)
	}
	return key, nil
}

// repeatFlag returns the flag with which the ginkgo command repeats whole suites, if it was given:
// each repetition overwrites the report of the one before, so no single report speaks for them all.
// The flag is not passed on to the suite; it is read from the command line of the parent process.
func repeatFlag() string {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", os.Getppid()))
	if err != nil {
		return "" // no parent to be seen, or not on Linux
	}
	return findRepeatFlag(strings.Split(string(bytes.TrimRight(line, "\x00")), "\x00"))
}

func findRepeatFlag(arguments []string) string {
	for i, argument := range arguments {
		if argument == "--" {
			return ""
		}
		name, value, hasValue := strings.Cut(strings.TrimLeft(argument, "-"), "=")
		if name == argument {
			continue // not a flag
		}
		switch name {
		case "repeat":
			if !hasValue && i+1 < len(arguments) {
				value = arguments[i+1]
			}
			if value != "0" {
				return "--repeat=" + value
			}
		case "until-it-fails":
			if value != "false" {
				return "--until-it-fails"
			}
		}
	}
	return ""
}

// announce tells GitHub Actions: the checklist in the job summary, an annotation for each failed row.
func announce(result verdict.Result) error {
	if path := os.Getenv("GITHUB_STEP_SUMMARY"); path != "" {
		if err := appendFile(path, markdown.Checklist(result)); err != nil {
			return fmt.Errorf("write the job summary: %w", err)
		}
	}
	if os.Getenv("GITHUB_ACTIONS") == "true" {
		for _, line := range annotations(result) {
			fmt.Println(line)
		}
	}
	return nil
}

func appendFile(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(content, '\n'))
	return errors.Join(err, file.Close())
}

// annotations are GitHub workflow commands, at most one a spec.
func annotations(result verdict.Result) []string {
	var lines []string
	add := func(title, location, message string) {
		properties := "title=" + escapeProperty(title)
		if file, line, found := strings.Cut(location, ":"); found {
			properties += ",file=" + escapeProperty(file) + ",line=" + escapeProperty(line)
		}
		lines = append(lines, "::error "+properties+"::"+escapeData(message))
	}
	for _, problem := range result.Problems {
		add(result.Gate, "", problem)
	}
	for _, row := range result.Rows {
		if row.Level != "MUST" || row.Waived || row.State != verdict.Failed && row.State != verdict.Inconclusive {
			continue
		}
		title := fmt.Sprintf("%s %s: %s", row.ID, row.Title, row.State)
		annotated := false
		for _, spec := range row.Specs {
			switch {
			case spec.Failure != nil:
				add(title, spec.Failure.Location, spec.Failure.Message+"\nrun again: "+spec.Rerun)
			case spec.State == verdict.Inconclusive:
				add(title, spec.Location, spec.Reason+"\nrun again: "+spec.Rerun)
			default:
				continue
			}
			annotated = true
		}
		if !annotated {
			add(title, "", strings.Join(row.Reasons, "; "))
		}
	}
	return lines
}

var (
	dataEscaper     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	propertyEscaper = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func escapeData(text string) string     { return dataEscaper.Replace(text) }
func escapeProperty(text string) string { return propertyEscaper.Replace(text) }
