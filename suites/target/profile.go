// Package target is what is under test: the profile that says how to reach it, and what the harness knows and finds out about it.
package target

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"touchstone/suites/api"
)

// Profile says what the subject of a run is and how to reach it. The zero value, completed, is the bundled worker and model.
type Profile struct {
	URL       string   // base URL of a running worker
	Command   []string // starts one, with {port}, {model} and {device}
	NativeLib string   // shared object that implements the C ABI
	API       string   // api.Touchstone (default), api.OpenAICompletions or api.OpenAIChat, where a gate does not say
	Device    string   // "auto", "cpu", "sim" or "cuda:N"
	Model     string   // GGUF file
	ReportDir string

	// ModelName is the name by which requests ask for the model; "" is the first that the worker lists. ModelSHA256 names the
	// file that a worker serves which the harness does not give it.
	ModelName   string
	ModelSHA256 string
	// Numerics says by what answers are judged: Canonical, bit for bit, or Own, within stated bounds.
	Numerics string
	// Header goes with every request, the key among it. Its values never reach a report.
	Header map[string]string
	// Options are how the command is given what a spec needs, by name: arguments with {value}.
	Options map[string][]string

	folder string // that relative paths are seen from, and that commands run in
	given  map[string]string
}

// settings lists flag, environment variable and meaning of every setting that is not in a profile file alone.
var settings = []struct{ name, env, usage string }{
	{"profile", "GATE_PROFILE", "YAML file that describes the subject; flags win over it"},
	{"worker-url", "GATE_WORKER_URL", "base URL of a running worker to test"},
	{"worker-cmd", "GATE_WORKER_CMD", "command line that starts a worker, with {port}, {model} and {device}"},
	{"native-lib", "GATE_NATIVE_LIB", "shared library that implements the C ABI"},
	{"api", "GATE_API", "HTTP interface, where a gate does not say: touchstone (default), openai-completions or openai-chat"},
	{"api-key-file", "GATE_API_KEY_FILE", "file with the key that the worker wants as a Bearer token; the key itself may stand in GATE_API_KEY"},
	{"device", "GATE_DEVICE", "auto (default), cpu, sim or cuda:N"},
	{"model", "GATE_MODEL", "GGUF file; default: the bundled model"},
	{"model-name", "GATE_MODEL_NAME", "name by which requests ask for the model; default: the first that the worker lists"},
	{"numerics", "GATE_NUMERICS", "canonical: the worker promises the bits of native/NUMERICS.md; own: answers are judged within bounds"},
	{"report-dir", "GATE_REPORT_DIR", "folder of the report"},
}

// The numerics of a worker. Without a word, `worker serve` and what takes its flags is canonical, any other has its own.
const (
	Canonical = "canonical"
	Own       = "own"
)

// keyVariable holds a key itself.
const keyVariable = "GATE_API_KEY"

// Flags defines the settings on a flag set. The function it returns gives the profile once the flags are parsed: a flag wins
// over its environment variable, and both over the profile file. Relative paths, also in that function's errors, are seen
// from folder. An error is one line that names the setting and what is allowed.
func Flags(flags *flag.FlagSet) func(folder string) (Profile, error) {
	for _, s := range settings {
		flags.String(s.name, "", s.usage+" ("+s.env+")")
	}
	return func(folder string) (Profile, error) {
		given := map[string]string{}
		for _, s := range settings {
			if value := os.Getenv(s.env); value != "" {
				given[s.name] = value
			}
		}
		for _, s := range settings {
			if value := flags.Lookup(s.name).Value.String(); value != "" {
				given[s.name] = value
			}
		}
		return newProfile(folder, given)
	}
}

func newProfile(folder string, given map[string]string) (Profile, error) {
	p := Profile{folder: folder, given: given, Header: map[string]string{}}
	if file := given["profile"]; file != "" {
		if err := p.read(p.path(file)); err != nil {
			return p, fmt.Errorf("--profile (GATE_PROFILE): %w", err)
		}
	}
	if given["worker-url"] != "" || given["worker-cmd"] != "" { // either replaces what the file says
		p.URL, p.Command, p.Options = given["worker-url"], nil, nil
	}
	if line := given["worker-cmd"]; line != "" {
		command, err := shellquote.Split(line)
		if err != nil {
			return p, fmt.Errorf("--worker-cmd (GATE_WORKER_CMD): %w in %q", err, line)
		}
		p.Command = command
	}
	for name, field := range map[string]*string{
		"native-lib": &p.NativeLib, "api": &p.API, "device": &p.Device, "model": &p.Model, "model-name": &p.ModelName, "numerics": &p.Numerics, "report-dir": &p.ReportDir,
	} {
		if value, isGiven := given[name]; isGiven {
			*field = value
		}
	}
	if given["worker-url"] != "" && given["worker-cmd"] != "" {
		return p, errors.New("--worker-url and --worker-cmd exclude each other: give one of them")
	}
	if err := p.readKey(given["api-key-file"]); err != nil {
		return p, err
	}
	return p, p.complete()
}

// readKey puts the key, from the file or the environment, into the header.
func (p *Profile) readKey(file string) error {
	key := os.Getenv(keyVariable)
	if file != "" {
		text, err := os.ReadFile(p.path(file))
		if err != nil {
			return fmt.Errorf("--api-key-file (GATE_API_KEY_FILE): %w", err)
		}
		if key = strings.TrimSpace(string(text)); key == "" {
			return fmt.Errorf("--api-key-file (GATE_API_KEY_FILE): %s is empty", file)
		}
	}
	if key != "" {
		p.Header["Authorization"] = "Bearer " + key
	}
	return nil
}

var (
	devicePattern = regexp.MustCompile(`^(auto|cpu|sim|cuda:[0-9]+)$`)
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// complete fills in defaults and refuses what cannot be meant.
func (p *Profile) complete() error {
	if p.API == "" {
		p.API = api.Touchstone
	}
	if p.Device == "" {
		p.Device = "auto"
	}
	if p.API != api.Touchstone && p.API != api.OpenAICompletions && p.API != api.OpenAIChat {
		return fmt.Errorf("--api (GATE_API): %q is not touchstone, openai-completions or openai-chat", p.API)
	}
	if p.Numerics != "" && p.Numerics != Canonical && p.Numerics != Own {
		return fmt.Errorf("--numerics (GATE_NUMERICS): %q is not canonical or own", p.Numerics)
	}
	if !devicePattern.MatchString(p.Device) {
		return fmt.Errorf("--device (GATE_DEVICE): %q is not auto, cpu, sim or cuda:N", p.Device)
	}
	if p.ModelSHA256 != "" && !digestPattern.MatchString(p.ModelSHA256) {
		return fmt.Errorf("model-sha256: %q is not a SHA-256 in lower-case hex", p.ModelSHA256)
	}
	if p.URL != "" && len(p.Command) > 0 {
		return errors.New("url and command exclude each other: give one of them")
	}
	if p.URL != "" {
		u, err := url.Parse(p.URL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("--worker-url (GATE_WORKER_URL): %q is not a URL such as http://127.0.0.1:8080", p.URL)
		}
		p.URL = strings.TrimRight(p.URL, "/")
	}
	if len(p.Command) > 0 && !strings.Contains(strings.Join(p.Command, " "), "{port}") {
		return fmt.Errorf("--worker-cmd (GATE_WORKER_CMD): %q has no {port}: the harness chooses the port", shellquote.Join(p.Command...))
	}
	for name := range p.Header {
		if http.CanonicalHeaderKey(name) == "" || strings.ContainsAny(name, " :\r\n") {
			return fmt.Errorf("headers: %q is not the name of a header", name)
		}
	}
	for _, file := range []struct {
		name, env string
		path      *string
	}{
		{"--native-lib", "GATE_NATIVE_LIB", &p.NativeLib}, {"--model", "GATE_MODEL", &p.Model},
	} {
		if *file.path == "" {
			continue
		}
		*file.path = p.path(*file.path)
		if info, err := os.Stat(*file.path); err != nil || info.IsDir() {
			return fmt.Errorf("%s (%s): %q is not a file that can be read", file.name, file.env, *file.path)
		}
	}
	if p.ReportDir != "" {
		p.ReportDir = p.path(p.ReportDir)
	}
	return nil
}

// path is a path as it is seen from the profile's folder.
func (p *Profile) path(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(p.folder, filepath.FromSlash(path))
}

// Bundled tells whether the subject is the worker of this repository.
func (p *Profile) Bundled() bool { return p.URL == "" && len(p.Command) == 0 }

// Promises tells whether the worker claims canonical numerics: its answers must then be equal, bit for bit.
func (p *Profile) Promises() bool {
	if p.Numerics != "" {
		return p.Numerics == Canonical
	}
	return p.Bundled() || p.API == api.Touchstone || len(p.Options) == len(touchstoneOptions)
}

// GivesModel tells whether the worker serves the file that the harness names.
func (p *Profile) GivesModel() bool { return p.Bundled() || p.commandTakes("{model}") }

// KnowsModel tells whether the file that the worker serves is known.
func (p *Profile) KnowsModel() bool { return p.GivesModel() || p.ModelSHA256 != "" }

func (p *Profile) commandTakes(placeholder string) bool {
	return strings.Contains(strings.Join(p.Command, "\x00"), placeholder)
}

// Arguments are the settings that repeat the run, as flags: those that were given, without any secret.
func (p *Profile) Arguments() []string {
	var arguments []string
	for _, s := range settings {
		if value := p.given[s.name]; value != "" && s.name != "report-dir" {
			arguments = append(arguments, "--"+s.name, value)
		}
	}
	return arguments
}

// Secrets are the values that the subject is given in headers: none of them may reach a report.
func (p *Profile) Secrets() []string {
	var values []string
	for _, name := range slices.Sorted(maps.Keys(p.Header)) {
		value := p.Header[name]
		values = append(values, value)
		if _, key, isKey := strings.Cut(value, " "); isKey && name == "Authorization" {
			values = append(values, key)
		}
	}
	return values
}

// Label names the subject before anything is known of it.
func (p *Profile) Label() string {
	switch {
	case p.URL != "":
		return p.URL
	case len(p.Command) > 0:
		return commandLine(p.Command)
	}
	return "touchstone"
}

// commandLine is a command as a shell takes it; the braces of a placeholder need no quoting.
func commandLine(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		if quoted[i] = shellquote.Join(word); strings.ReplaceAll(quoted[i], `\{`, "{") == word {
			quoted[i] = word
		}
	}
	return strings.Join(quoted, " ")
}
