package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega/gexec"

	"touchstone/fixtures/models"
	"touchstone/reports/verdict"
	"touchstone/suites/api"
	"touchstone/suites/process"
	"touchstone/suites/toolchain"
	"touchstone/suites/wire"
)

// Target is what is under test. One is shared by all specs of a process; it is safe for concurrent use.
type Target struct {
	Profile Profile
	shared  Shared
	client  *wire.Client
	worker  *process.Process // set in the process that started it
	// subject is asked for while the worker runs: the report is written when it has ended.
	subject verdict.Subject
	self    []string
}

// Shared is what parallel processes need to know of the worker that one of them started.
type Shared struct {
	URL         string        `json:"url"`
	Command     []string      `json:"command"`    // starts another worker; empty where the harness cannot
	ReadyAfter  time.Duration `json:"readyAfter"` // of the shared worker; 0 if the harness did not start it
	ModelSHA256 string        `json:"modelSha256"`
	OpenAI      OpenAIOffer   `json:"openAI"`
}

// Encode gives the form in which processes exchange it.
func (s Shared) Encode() []byte {
	encoded, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return encoded
}

// Prepare builds the bundled worker if it is the subject, starts the subject's shared worker if the harness may, and finds
// out what it offers. Close ends the worker. Where an error is returned, no worker runs; the target is there all the same, so
// that a report can name its subject.
func Prepare(ctx context.Context, profile Profile) (*Target, error) {
	t := &Target{Profile: profile}
	t.subject = t.configured()
	if err := t.begin(ctx); err != nil {
		if t.worker != nil {
			t.worker.Kill()
		}
		return t, fmt.Errorf("%s: %w", t.subject.Worker, err)
	}
	return t, nil
}

func (t *Target) begin(ctx context.Context) error {
	if t.Profile.Model == "" {
		model, err := models.HaikuFile()
		if err != nil {
			return fmt.Errorf("the bundled model is not to be had: %w", err)
		}
		t.Profile.Model = model
	}
	t.shared.ModelSHA256 = process.Digest(t.Profile.Model)
	switch {
	case t.Profile.URL != "":
		t.shared.URL = t.Profile.URL
		return t.meet(ctx)
	case len(t.Profile.Command) > 0:
		t.shared.Command = t.Profile.Command
	default:
		path, err := toolchain.Tool("touchstone/worker")
		if err != nil {
			return fmt.Errorf("the bundled worker is not to be had: %w", err)
		}
		t.shared.Command = []string{path, "serve", "--port", "{port}", "--model", "{model}", "--device", "{device}"}
	}
	worker, err := t.Start(ctx, process.Launch{})
	if err != nil {
		return fmt.Errorf("the worker cannot be started: %w", err)
	}
	t.worker, t.shared.URL, t.shared.ReadyAfter = worker, worker.URL, worker.ReadyAfter
	return t.meet(ctx)
}

// meet asks the shared worker what it is and what it offers. A worker that does not answer at all, or refuses the key, is
// nothing to run specs on.
func (t *Target) meet(ctx context.Context) error {
	t.client = wire.NewClient(t.shared.URL, t.Profile.Header)
	if err := t.reachable(ctx); err != nil {
		return err
	}
	t.shared.OpenAI = t.probeOpenAI(ctx)
	t.subject = t.describe(ctx)
	return nil
}

// Join makes the target of another process.
func Join(profile Profile, encoded []byte) (*Target, error) {
	t := &Target{Profile: profile}
	if err := json.Unmarshal(encoded, &t.shared); err != nil {
		return nil, err
	}
	if t.Profile.Model == "" {
		model, err := models.HaikuFile()
		if err != nil {
			return nil, err
		}
		t.Profile.Model = model
	}
	t.client = wire.NewClient(t.shared.URL, profile.Header)
	return t, nil
}

// Shared is what other processes need to know.
func (t *Target) Shared() Shared { return t.shared }

// Close ends the shared worker if this process started it, and removes what was built. A worker of somebody else's that ends
// by the very signal it was sent has done what it was asked to; whether it should exit 0 is judged by the row that asks.
func (t *Target) Close(ctx context.Context) error {
	if t.client != nil {
		t.client.Close()
	}
	var err error
	if t.worker != nil {
		err = t.worker.Stop(ctx)
		var diagnosis *process.Diagnosis
		if errors.As(err, &diagnosis) && diagnosis.Ailment == process.Died && diagnosis.Signal == syscall.SIGTERM {
			err = nil
		}
	}
	if t.Profile.Bundled() {
		gexec.CleanupBuildArtifacts()
	}
	return err
}

// Self is the command that runs this very gate on the subject that its environment describes.
func (t *Target) Self() []string { return t.self }

// RunBy tells the target the command that runs this very gate.
func (t *Target) RunBy(self []string) { t.self = self }

// Client talks to the shared worker.
func (t *Target) Client() *wire.Client { return t.client }

// ClientOf talks to a worker of the spec's own, with the subject's key.
func (t *Target) ClientOf(worker *process.Process) *wire.Client {
	return wire.NewClient(worker.URL, t.Profile.Header)
}

// API is the adapter of the named interface.
func (t *Target) API(name string) api.API {
	switch name {
	case api.OpenAICompletions:
		return api.NewCompletions(t.shared.OpenAI.Model)
	case api.OpenAIChat:
		return api.NewChat(t.shared.OpenAI.Model)
	}
	return api.NewTouchstone()
}

// Worker is the shared worker's process; nil where the harness did not start it.
func (t *Target) Worker() *process.Process { return t.worker }

// Start starts a worker of the spec's own. Fields of launch that are zero are filled in from the profile. The caller stops it.
func (t *Target) Start(ctx context.Context, launch process.Launch) (*process.Process, error) {
	return process.Start(ctx, t.Launch(launch))
}

// Launch fills in the command, model and device of a launch, and where its worker tells that it is ready.
func (t *Target) Launch(launch process.Launch) process.Launch {
	if launch.Command == nil {
		launch.Command = t.shared.Command
	}
	if launch.Model == "" {
		launch.Model = t.Profile.Model
	}
	if launch.Device == "" {
		launch.Device = t.Profile.Device
	}
	launch.Dir, launch.Header = t.Profile.folder, t.Profile.Header
	if launch.ReadyPaths == nil {
		launch.ReadyPaths = t.API(t.Profile.API).ReadyPaths()
	}
	return launch
}

// CommandTakes tells whether the worker's command line has a placeholder such as "{device}".
func (t *Target) CommandTakes(placeholder string) bool {
	return slices.ContainsFunc(t.shared.Command, func(argument string) bool { return strings.Contains(argument, placeholder) })
}

// With is a launch of the subject's command that is given options by name, such as "keep-alive": "1ms". It skips the spec
// where the profile does not say how.
func (t *Target) With(options map[string]string) process.Launch {
	ginkgo.GinkgoHelper()
	known := t.Profile.Options
	if t.Profile.Bundled() {
		known = touchstoneOptions
	}
	command := slices.Clone(t.shared.Command)
	for _, name := range OptionNames() { // in a fixed order
		value, wanted := options[name]
		if !wanted {
			continue
		}
		arguments, told := known[name]
		if !told {
			ginkgo.Skip(fmt.Sprintf("needs a profile that says how the command is given %q: options in --profile", name))
		}
		for _, argument := range arguments {
			command = append(command, strings.ReplaceAll(argument, "{value}", value))
		}
	}
	return process.Launch{Command: command}
}

// ModelLabel is the file name of the model without its ending.
func (t *Target) ModelLabel() string {
	return strings.TrimSuffix(filepath.Base(t.Profile.Model), filepath.Ext(t.Profile.Model))
}
