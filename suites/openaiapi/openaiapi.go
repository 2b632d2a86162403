// Package openaiapi holds the specs of the wire format of the OpenAI API: its errors, its limits, its list of models and the
// header in which a caller's id comes back. What a server means by its answers is tested in package generation.
package openaiapi

import (
	"net/http"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// specTimeout leaves room for a server that answers one request after the other.
const specTimeout = 60 * time.Second

const completions = "/v1/completions"

// rain is a prompt of the bundled model's subject that any other model can continue too.
const rain = "Please write a haiku about rain"

// refused are the statuses of a request that is wrong.
var refused = []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity}

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	registerModels(subject)
	registerCorrelation(subject)
	registerValidation(subject)
}

// httpClient is the client of the shared server, or skips the spec.
func httpClient(subject func() *target.Target) *wire.Client {
	GinkgoHelper()
	subject().Require(target.HTTP)
	return subject().Client()
}

// apart makes a call over a connection of its own, as clients do that know nothing of each other. Some servers spend a thread
// on each connection that is kept.
func apart(call wire.Call) wire.Call { return call.With("Connection", "close") }
