package verdict

import (
	"fmt"
	"strconv"
	"strings"

	"touchstone/reports/harmless"
	"touchstone/reports/secret"
)

// Subject says what was tested with what. A verdict is never printed without it. A digest is there only where the harness
// read the very file that ran or was served; other facts are claims of the worker unless Shown says otherwise.
type Subject struct {
	Worker              string `json:"worker"` // as it was configured: name, URL or command line
	WorkerVersion       string `json:"workerVersion"`
	WorkerExecutable    string `json:"workerExecutable"`    // path of the program that ran; empty for a worker that was not found
	WorkerSHA256        string `json:"workerSha256"`        // of that program
	Device              string `json:"device"`              // that served: "cpu", "NVIDIA H200", ...
	Simulated           bool   `json:"simulated"`           // the CUDA rows ran on a simulated device
	CUDADevice          string `json:"cudaDevice"`          // on which the CUDA rows ran, where it was not simulated
	NativeLibrary       string `json:"nativeLibrary"`       // path of the library that the native rows asked; empty for the built-in one
	NativeLibrarySHA256 string `json:"nativeLibrarySha256"` // of that file
	Model               string `json:"model"`
	ModelSHA256         string `json:"modelSha256"` // of the model file, where it was the harness that gave it to the worker
	HarnessVersion      string `json:"harnessVersion"`
	Dialect             string `json:"dialect"`      // of the worker's HTTP interface: "touchstone" or "openai"
	Capabilities        string `json:"capabilities"` // what the subject offers, as it was found: "http, restart, logs"
	Shown               Shown  `json:"shown"`
	Problem             string `json:"problem,omitempty"` // why the worker told nothing of itself: "GET /health answers 401"
}

// Shown tells which facts the harness established itself, from the system or the driver. The others are the worker's word.
type Shown struct {
	WorkerVersion bool `json:"workerVersion"`
	Device        bool `json:"device"`
	CUDADevice    bool `json:"cudaDevice"`
	Model         bool `json:"model"` // its name; a digest is established in any case
}

// maxSubjectText is how much of a fact is kept, in characters: a subject does not write the report.
const maxSubjectText = 200

// cleaned is the subject without what could spoof a report: one harmless line a field, and no secrets.
func (s Subject) cleaned() Subject {
	harmless.Each(&s, func(text string) string {
		return clip(strings.ReplaceAll(harmless.Line(secret.Text(text)), "·", "•"), maxSubjectText)
	})
	return s
}

func (s Subject) parts() []string {
	worker := "worker " + orUnknown(s.Worker)
	if s.Shown.WorkerVersion && s.WorkerVersion != "" {
		worker += " " + s.WorkerVersion
	}
	worker += digestNote(s.WorkerSHA256)
	if !s.Shown.WorkerVersion && s.WorkerVersion != "" {
		worker += ", version " + fact(s.WorkerVersion, false)
	}
	if s.overOpenAI() {
		worker += " over the OpenAI API"
	}
	if s.Problem != "" {
		worker += ", which told nothing of itself: " + s.Problem
	}
	parts := []string{
		worker,
		"device " + fact(s.Device, s.Shown.Device),
		"model " + fact(s.Model, s.Shown.Model) + digestNote(s.ModelSHA256),
	}
	if s.NativeLibrary != "" {
		parts = append(parts, "native library "+s.NativeLibrary+digestNote(s.NativeLibrarySHA256))
	}
	switch {
	case s.Simulated:
		parts = append(parts, "CUDA layer on a simulated device")
	case s.CUDADevice != "":
		parts = append(parts, "CUDA layer on "+fact(s.CUDADevice, s.Shown.CUDADevice))
	}
	return parts
}

// fact is a fact as it was shown, or in quotes what the worker claims without its having been shown.
func fact(value string, shown bool) string {
	if value == "" || shown {
		return orUnknown(value)
	}
	return strconv.Quote(value) + " (claimed)"
}

// Claims names the facts that are there, but are only the worker's word.
func (s Subject) Claims() []string {
	var names []string
	for _, fact := range []struct {
		name  string
		value string
		shown bool
	}{
		{"version", s.WorkerVersion, s.Shown.WorkerVersion}, {"device", s.Device, s.Shown.Device},
		{"CUDA device", s.CUDADevice, s.Shown.CUDADevice}, {"model", s.Model, s.Shown.Model},
	} {
		if fact.value != "" && !fact.shown {
			names = append(names, fact.name)
		}
	}
	return names
}

// overOpenAI tells whether the worker was asked in the OpenAI dialect, by other specs than in the touchstone one.
func (s Subject) overOpenAI() bool { return s.Dialect == "openai" }

func orUnknown(name string) string {
	if name == "" {
		return "unknown"
	}
	return name
}

// digestNote shortens a digest to 12 digits; the report holds it in full.
func digestNote(digest string) string {
	if digest == "" {
		return ""
	}
	return fmt.Sprintf(" (sha256 %.12s)", digest)
}
