// Package httpapi holds the specs of the HTTP layer of `worker serve`: POST /execute and what stands beside it. They know a worker by its HTTP interface alone.
package httpapi

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/api"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// Every timeout of this package, named.
const (
	specTimeout = 30 * time.Second
	// logDelay is how long a log line may take from the worker's pen to the harness.
	logDelay = 5 * time.Second
	// buildTimeout covers a compilation of the native library on a slow machine.
	buildTimeout = 3 * time.Minute
)

// rain is a prompt of the bundled model's subject that any other model can continue too.
const rain = "Please write a haiku about rain"

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	registerErrors(subject)
	registerHealth(subject)
	registerExecute(subject)
	registerSSE(subject)
	registerCorrelation(subject)
	registerValidation(subject)
}

// httpClient is the client of the shared worker, or skips the spec.
func httpClient(subject func() *target.Target) *wire.Client {
	GinkgoHelper()
	subject().Require(target.HTTP)
	return subject().Client()
}

// execute runs a request to its end and decodes it.
func execute(ctx SpecContext, client *wire.Client, fields api.Fields, header ...string) (*wire.Stream, api.Generation) {
	GinkgoHelper()
	stream, err := api.Execute(ctx, client, fields, header...)
	Expect(err).NotTo(HaveOccurred())
	generation, err := api.ReadGeneration(stream)
	Expect(err).NotTo(HaveOccurred())
	return stream, generation
}

// mustEnd expects a generation that ended well, with its count.
func mustEnd(generation api.Generation) *api.End {
	GinkgoHelper()
	Expect(generation.Failure).To(BeNil(), "the stream ended with an error: %+v", generation.Failure)
	Expect(generation.End).NotTo(BeNil(), "the stream has no end event")
	Expect(generation.End.TokensOut).NotTo(BeNil(), "the end event has no tokens_out")
	return generation.End
}

// health asks for the worker's health.
func health(ctx SpecContext, client *wire.Client) api.Health {
	GinkgoHelper()
	response, err := client.Do(ctx, wire.Get("/health"))
	Expect(err).NotTo(HaveOccurred())
	var answer api.Health
	Expect(response.JSON(&answer)).To(Succeed())
	return answer
}
