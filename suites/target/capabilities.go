package target

import (
	"strings"

	"github.com/onsi/ginkgo/v2"

	"touchstone/suites/api"
	"touchstone/suites/toolchain"
)

// Capability is something that specs need of their subject.
type Capability string

// The capabilities.
const (
	HTTP       Capability = "http"        // a worker that answers HTTP
	Restart    Capability = "restart"     // workers of the harness's own can be started and stopped
	Logs       Capability = "logs"        // what a worker writes can be read
	Native     Capability = "native"      // a library that implements the C ABI
	CUDADevice Capability = "cuda-device" // that library offers a device of kind cuda or sim
	Compiler   Capability = "compiler"    // C and C++ can be compiled beside the sources of the library
)

// What a server of the OpenAI API may offer beyond its completions.
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
	Correlation:    "needs a server that returns the caller's " + api.CorrelationHeader + " or " + api.RequestHeader,
	Restart:        "needs a worker that the harness can start: give --worker-cmd instead of --worker-url",
	Logs:           "needs the worker's log: give --worker-cmd instead of --worker-url",
	Native:         "needs a native library: give --native-lib",
	CUDADevice:     "needs a CUDA device or the simulator",
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
		return t.Profile.NativeLib != "" || t.Profile.Bundled()
	case CUDADevice:
		return t.Has(Native) && len(t.CUDADevices()) > 0
	case Compiler:
		return toolchain.Missing() == ""
	}
	return false
}

// Require skips the running spec, with the reason, if the subject lacks one of the capabilities.
func (t *Target) Require(capabilities ...Capability) {
	ginkgo.GinkgoHelper()
	for _, capability := range capabilities {
		switch {
		case t.Has(capability):
		case capability == Compiler:
			ginkgo.Skip(toolchain.Missing())
		default:
			ginkgo.Skip(missing[capability])
		}
	}
}

// declared lists what the subject offers.
func (t *Target) declared() string {
	var names []string
	for _, capability := range capabilities {
		if t.Has(capability) {
			names = append(names, string(capability))
		}
	}
	return strings.Join(names, ", ")
}
