// Package target is what is under test and how to reach it: settings, the launcher of a worker's process, a black-box HTTP
// client with wire types of its own, and the native library if there is one. It never imports the worker.
package target

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Config is how a run was pointed at its subject. The zero value means the bundled worker and model.
type Config struct {
	WorkerURL string // base URL of a running worker
	WorkerCmd string // command line to start one, with {port}, {model} and {device}
	NativeLib string // shared object that implements the C ABI
	Dialect   string // DialectTouchstone or DialectOpenAI
	Device    string // "auto", "cpu", "sim" or "cuda:N"
	Model     string // GGUF file
	ReportDir string
}

// settings lists flag, environment variable and meaning of every field of Config.
var settings = []struct {
	name, env, usage string
	field            func(*Config) *string
}{
	{"worker-url", "GATE_WORKER_URL", "base URL of a running worker to test", func(c *Config) *string { return &c.WorkerURL }},
	{"worker-cmd", "GATE_WORKER_CMD", "command line that starts a worker, with {port}, {model} and {device}", func(c *Config) *string { return &c.WorkerCmd }},
	{"native-lib", "GATE_NATIVE_LIB", "shared library that implements the C ABI", func(c *Config) *string { return &c.NativeLib }},
	{"dialect", "GATE_DIALECT", "HTTP interface of the worker: touchstone (default) or openai", func(c *Config) *string { return &c.Dialect }},
	{"device", "GATE_DEVICE", "auto (default), cpu, sim or cuda:N", func(c *Config) *string { return &c.Device }},
	{"model", "GATE_MODEL", "GGUF file; default: the bundled model", func(c *Config) *string { return &c.Model }},
	{"report-dir", "GATE_REPORT_DIR", "folder of the report", func(c *Config) *string { return &c.ReportDir }},
}

// Flags defines the settings on a flag set. The function it returns gives the configuration once the flags are parsed: a
// flag wins over its environment variable. Its error is one line that names the setting and what is allowed.
func Flags(flags *flag.FlagSet) func() (Config, error) {
	for _, s := range settings {
		flags.String(s.name, "", s.usage+" ("+s.env+")")
	}
	return func() (Config, error) {
		var config Config
		given := map[string]string{}
		flags.Visit(func(f *flag.Flag) { given[f.Name] = f.Value.String() })
		for _, s := range settings {
			value, isGiven := given[s.name]
			if !isGiven {
				value = os.Getenv(s.env)
			}
			*s.field(&config) = value
		}
		return config, config.complete()
	}
}

var devicePattern = regexp.MustCompile(`^(auto|cpu|sim|cuda:[0-9]+)$`)

// complete fills in defaults and refuses what cannot be meant.
func (c *Config) complete() error {
	if c.Dialect == "" {
		c.Dialect = DialectTouchstone
	}
	if c.Device == "" {
		c.Device = "auto"
	}
	switch {
	case !slices.Contains([]string{DialectTouchstone, DialectOpenAI}, c.Dialect):
		return fmt.Errorf("--dialect (GATE_DIALECT): %q is not touchstone or openai", c.Dialect)
	case !devicePattern.MatchString(c.Device):
		return fmt.Errorf("--device (GATE_DEVICE): %q is not auto, cpu, sim or cuda:N", c.Device)
	case c.WorkerURL != "" && c.WorkerCmd != "":
		return fmt.Errorf("--worker-url and --worker-cmd exclude each other: give one of them")
	}
	if c.WorkerURL != "" {
		u, err := url.Parse(c.WorkerURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
			return fmt.Errorf("--worker-url (GATE_WORKER_URL): %q is not a URL such as http://127.0.0.1:8080", c.WorkerURL)
		}
		c.WorkerURL = strings.TrimRight(c.WorkerURL, "/")
	}
	if c.WorkerCmd != "" && !strings.Contains(c.WorkerCmd, "{port}") {
		return fmt.Errorf("--worker-cmd (GATE_WORKER_CMD): %q has no {port}: the harness chooses the port", c.WorkerCmd)
	}
	for _, file := range []struct {
		name, env string
		path      *string
	}{
		{"--native-lib", "GATE_NATIVE_LIB", &c.NativeLib}, {"--model", "GATE_MODEL", &c.Model},
	} {
		if *file.path == "" {
			continue
		}
		*file.path = fromRoot(*file.path)
		if info, err := os.Stat(*file.path); err != nil || info.IsDir() {
			return fmt.Errorf("%s (%s): %q is not a file that can be read", file.name, file.env, *file.path)
		}
	}
	if c.Model == "" {
		c.Model = fromRoot("fixtures/models/haiku.gguf")
	}
	if c.ReportDir != "" {
		c.ReportDir = fromRoot(c.ReportDir)
	}
	return nil
}

// Bundled tells whether the subject is the worker of this repository.
func (c Config) Bundled() bool { return c.WorkerURL == "" && c.WorkerCmd == "" }

// BundledModel tells whether the worker serves the model whose goldens are known. A worker reached by URL serves what it
// likes.
func (c Config) BundledModel() bool {
	return c.WorkerURL == "" && filepath.Base(c.Model) == "haiku.gguf"
}

// fromRoot reads a relative path as seen from the repository's root, where the gate's command is given: a test binary runs
// in the folder of its package.
func fromRoot(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(Root(), filepath.FromSlash(path))
}

// Root is the folder of the repository: the nearest folder above the working one that holds go.mod, or the working one
// where there is none.
func Root() string {
	start, err := os.Getwd()
	if err != nil {
		return "."
	}
	for folder := start; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		if folder == filepath.Dir(folder) {
			return start
		}
	}
}
