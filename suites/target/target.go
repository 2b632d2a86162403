package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega/gexec"

	"touchstone/reports/verdict"
)

// Capability is something that a requirement needs of its subject.
type Capability string

// The capabilities.
const (
	HTTP       Capability = "http"        // a worker that answers HTTP
	Restart    Capability = "restart"     // workers of the harness's own can be started and stopped
	Logs       Capability = "logs"        // what a worker writes can be read
	Native     Capability = "native"      // a library that implements the C ABI
	CUDADevice Capability = "cuda-device" // that library offers a device of kind cuda or sim
)

// The capabilities of a server of the OpenAI API, beyond its completions.
const (
	HealthEndpoint Capability = "health"      // GET /health
	ChatEndpoint   Capability = "chat"        // POST /v1/chat/completions
	Correlation    Capability = "correlation" // a caller's id comes back
)

// capabilities lists all of them in the order in which a report declares them.
var capabilities = []Capability{HTTP, HealthEndpoint, ChatEndpoint, Correlation, Restart, Logs, Native, CUDADevice}

var missing = map[Capability]string{
	HTTP:           "needs a worker that answers HTTP",
	HealthEndpoint: "needs a server that answers GET /health",
	ChatEndpoint:   "needs a server that answers POST /v1/chat/completions",
	Correlation:    "needs a server that returns the caller's " + CorrelationHeader + " or " + RequestHeader,
	Restart:        "needs a worker that the harness can start: give --worker-cmd instead of --worker-url",
	Logs:           "needs the worker's log: give --worker-cmd instead of --worker-url",
	Native:         "needs a native library: give --native-lib",
	CUDADevice:     "needs a CUDA device or the simulator",
}

// Target is what is under test. One is shared by all specs of a process; it is safe for concurrent use.
type Target struct {
	Config Config
	shared Shared
	client *Client
	worker *Process // set in the process that started it
	// subject is asked for while the worker runs: the report is written when it has ended.
	subject verdict.Subject
}

// Shared is what parallel processes need to know of the worker that one of them started.
type Shared struct {
	URL          string        `json:"url"`
	Command      []string      `json:"command"` // starts another worker; empty where the harness cannot
	Executable   string        `json:"executable"`
	ReadyAfter   time.Duration `json:"readyAfter"` // of the shared worker; 0 if the harness did not start it
	WorkerSHA256 string        `json:"workerSha256"`
	ModelSHA256  string        `json:"modelSha256"`
	OpenAI       OpenAIOffer   `json:"openAI"` // found in that dialect alone
}

// Encode gives the form in which processes exchange it.
func (s Shared) Encode() []byte {
	encoded, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return encoded
}

// Prepare builds the bundled worker if it is the subject, starts the subject's shared worker if the harness may, and
// returns what other processes need. Close ends the worker.
func Prepare(ctx context.Context, config Config) (*Target, error) {
	t := &Target{Config: config}
	t.shared.ModelSHA256 = fileDigest(config.Model)
	switch {
	case config.WorkerURL != "":
		t.shared.URL = config.WorkerURL
		t.meet(ctx)
		return t, nil
	case config.WorkerCmd != "":
		t.shared.Command = strings.Fields(config.WorkerCmd)
	default:
		path, err := Tool("touchstone/worker")
		if err != nil {
			return nil, fmt.Errorf("the bundled worker is not to be had: %w", err)
		}
		t.shared.Command = []string{path, "serve", "--port", "{port}", "--model", "{model}", "--device", "{device}"}
	}
	t.shared.Executable = t.shared.Command[0]
	t.shared.WorkerSHA256 = fileDigest(t.shared.Executable)
	worker, err := t.Start(ctx, Launch{})
	if err != nil {
		return nil, fmt.Errorf("the worker cannot be started: %w", err)
	}
	t.worker, t.shared.URL, t.shared.ReadyAfter = worker, worker.URL, worker.ReadyAfter
	t.meet(ctx)
	return t, nil
}

// meet asks the shared worker what it is and what it offers.
func (t *Target) meet(ctx context.Context) {
	t.client = NewClient(t.shared.URL)
	if t.Config.Dialect == DialectOpenAI {
		t.shared.OpenAI = t.probeOpenAI(ctx)
	}
	t.subject = t.describe(ctx)
}

// Join makes the target of another process.
func Join(config Config, encoded []byte) (*Target, error) {
	t := &Target{Config: config}
	if err := json.Unmarshal(encoded, &t.shared); err != nil {
		return nil, err
	}
	t.client = NewClient(t.shared.URL)
	return t, nil
}

// Shared is what other processes need to know.
func (t *Target) Shared() Shared { return t.shared }

// Close ends the shared worker if this process started it, and removes what was built.
func (t *Target) Close(ctx context.Context) error {
	if t.client != nil {
		t.client.Close()
	}
	var err error
	if t.worker != nil {
		err = t.worker.Stop(ctx)
	}
	if t.Config.Bundled() {
		gexec.CleanupBuildArtifacts()
	}
	return err
}

// Client talks to the shared worker.
func (t *Target) Client() *Client { return t.client }

// Worker is the shared worker's process; nil where the harness did not start it.
func (t *Target) Worker() *Process { return t.worker }

// Start starts a worker of the spec's own. Fields of launch that are zero are filled in from the configuration. The
// caller stops it.
func (t *Target) Start(ctx context.Context, launch Launch) (*Process, error) {
	return Start(ctx, t.Launch(launch))
}

// Launch fills in the command, model and device of a launch, and where its worker tells that it is ready.
func (t *Target) Launch(launch Launch) Launch {
	if launch.Command == nil {
		launch.Command = t.shared.Command
	}
	if launch.Model == "" {
		launch.Model = t.Config.Model
	}
	if launch.Device == "" {
		launch.Device = t.Config.Device
	}
	if t.Config.Dialect == DialectOpenAI {
		launch.ReadyPaths = []string{"/health", "/v1/models"}
	}
	return launch
}

// Has tells whether the subject offers a capability.
func (t *Target) Has(capability Capability) bool {
	switch capability {
	case HTTP:
		return t.client != nil
	case HealthEndpoint:
		return t.shared.OpenAI.Health
	case ChatEndpoint:
		return t.shared.OpenAI.Chat
	case Correlation:
		return t.shared.OpenAI.Correlation != ""
	case Restart, Logs:
		return len(t.shared.Command) > 0
	case Native:
		return t.Config.NativeLib != "" || t.Config.Bundled()
	case CUDADevice:
		return t.Has(Native) && t.hasCUDADevice()
	}
	return false
}

// Require skips the running spec, with the reason, if the subject lacks one of the capabilities.
func (t *Target) Require(capabilities ...Capability) {
	ginkgo.GinkgoHelper()
	for _, capability := range capabilities {
		if !t.Has(capability) {
			ginkgo.Skip(missing[capability])
		}
	}
}

// CommandTakes tells whether the worker's command line has a placeholder such as "{device}".
func (t *Target) CommandTakes(placeholder string) bool {
	return slices.ContainsFunc(t.shared.Command, func(argument string) bool { return strings.Contains(argument, placeholder) })
}

// WithFlags is a launch of the subject's command with flags added at its end. It skips the spec where the command does not
// take those of `worker serve`.
func (t *Target) WithFlags(flags ...string) Launch {
	ginkgo.GinkgoHelper()
	if !slices.Contains(t.shared.Command, "serve") {
		ginkgo.Skip("needs a command line that takes the flags of `worker serve`")
	}
	return Launch{Command: slices.Concat(t.shared.Command, flags)}
}

// ModelName is the file name of the model without its ending.
func (t *Target) ModelName() string {
	return strings.TrimSuffix(filepath.Base(t.Config.Model), filepath.Ext(t.Config.Model))
}

// fileDigest is the SHA-256 of a file in lower-case hex; empty if it cannot be read.
func fileDigest(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}
