package target

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"touchstone/reports/verdict"
	"touchstone/suites/api"
	"touchstone/suites/process"
	"touchstone/suites/wire"
)

// describeTimeout bounds the questions asked for the report's head.
const describeTimeout = 5 * time.Second

// Subject says what was tested, for the head of the report. What could not be known is empty; it works on nil.
func (t *Target) Subject() verdict.Subject {
	if t == nil {
		return verdict.Subject{}
	}
	return t.subject
}

// configured is what is known of the subject before anything runs.
func (t *Target) configured() verdict.Subject {
	return verdict.Subject{Worker: t.Profile.Label(), Dialect: t.Profile.API}
}

// describe adds what the harness knows, what the system tells, and what the worker says of itself. A model's hash stands there
// only where the harness gave the worker that file, or the profile names it.
func (t *Target) describe(ctx context.Context) verdict.Subject {
	out := t.configured()
	out.Simulated, out.Capabilities = t.Simulated(), t.declared()
	if identity, err := process.Listening(t.port()); err == nil {
		out.WorkerExecutable, out.WorkerSHA256 = identity.Path, identity.SHA256
		if t.Profile.URL != "" {
			out.Worker += " (" + filepath.Base(identity.Path) + ")"
		}
	}
	if library := t.Profile.NativeLib; library != "" {
		out.NativeLibrary, out.NativeLibrarySHA256 = library, process.Digest(library)
	}
	out.CUDADevice = strings.Join(t.cudaHardware(), ", ")
	switch {
	case t.Profile.GivesModel():
		out.Model, out.ModelSHA256, out.Shown.Model = t.ModelLabel(), t.shared.ModelSHA256, true
	case t.Profile.ModelSHA256 != "":
		out.Model, out.ModelSHA256 = t.ModelLabel(), t.Profile.ModelSHA256
	default:
		out.Model = t.shared.OpenAI.Model
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	response, err := t.client.Do(ctx, t.API(api.Touchstone).Health())
	if err != nil {
		return out
	}
	var health struct {
		Version string `json:"version"`
		Model   string `json:"model"`
		Device  string `json:"device"`
	}
	if response.JSON(&health) == nil {
		out.WorkerVersion, out.Device = health.Version, health.Device
		// What runs on no card runs on the processor, by the system's word.
		if onCard, seen := t.OnCard(); seen && !onCard && processors.MatchString(health.Device) {
			out.Shown.Device = true
		}
		if health.Model != "" && out.Model == "" {
			out.Model = health.Model
		}
	}
	return out
}

// port is where the shared worker listens; 0 for a worker of another machine.
func (t *Target) port() int {
	u, err := url.Parse(t.shared.URL)
	if err != nil || u.Hostname() != "127.0.0.1" && u.Hostname() != "localhost" && u.Hostname() != "::1" {
		return 0
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return 0
	}
	return port
}

// reachable tells in one line why no spec could say anything about the worker.
func (t *Target) reachable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	call := t.API(t.Profile.API).Health()
	response, err := t.client.Do(ctx, call)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("it does not answer GET %s within %s: is a worker ready there?", call.Path, describeTimeout)
	case err != nil:
		return fmt.Errorf("it does not answer GET %s: %w", call.Path, err)
	case response.Status == http.StatusUnauthorized || response.Status == http.StatusForbidden:
		return t.keyRefused(response, call)
	case strings.HasPrefix(response.Header.Get("Content-Type"), "text/html"):
		return fmt.Errorf("it answers GET %s with %d and a page of HTML: that is a website, not a worker; look at the URL",
			call.Path, response.Status)
	}
	if t.Profile.API != api.Touchstone {
		return nil
	}
	// Health needs no key at many workers, so another path is asked.
	call = wire.Post("/tokenize", api.Fields{"text": "a"})
	if response, err = t.client.Do(ctx, call); err == nil && response.Status == http.StatusUnauthorized {
		return t.keyRefused(response, call)
	}
	return nil
}

// keyRefused says what to do about a worker that wants a key, or another one than it was given.
func (t *Target) keyRefused(response *wire.Response, call wire.Call) error {
	advice := "give its key with --api-key-file or GATE_API_KEY"
	if t.Profile.Header["Authorization"] != "" {
		advice = "it refuses the key that it was given"
	}
	return fmt.Errorf("it answers %d to %s %s: %s", response.Status, call.Method, call.Path, advice)
}

// processors are names of devices that are none of a card's.
var processors = regexp.MustCompile(`(?i)^(cpu|sim)`)

// OnCard tells whether the shared worker has a card of the NVIDIA driver open; seen is false where the system does not tell, as
// for a worker of another machine.
func (t *Target) OnCard() (onCard, seen bool) {
	identity, err := process.Listening(t.port())
	if err != nil {
		return false, false
	}
	onCard, err = process.UsesNVIDIA(identity.PID)
	return onCard, err == nil
}
