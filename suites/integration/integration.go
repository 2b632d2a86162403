// Package integration holds the specs of the harness itself and of all layers together.
package integration

import (
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native/gguf"
	"touchstone/suites/api"
	"touchstone/suites/internal/modelfile"
	"touchstone/suites/process"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

const (
	specTimeout = 60 * time.Second
	// releaseWithin is the time in which a cancelled or abandoned job must be over.
	releaseWithin = 100 * time.Millisecond
)

// prompts are continued by any model of language; the bundled one writes haiku after some of them.
var prompts = []string{
	"Write a haiku about GPU computing", "Please write a haiku about rain", "a", "The old pond:",
	"func main() {", "Écrivez un haïku: 東京の雨",
}

// Register adds the specs of all layers together to the container that calls it. They are asked over POST /execute and what
// stands beside it.
func Register(subject func() *target.Target) {
	registerEndToEnd(subject)
	registerErrors(subject)
}

// generate runs a request to its end, which must be a good one.
func generate(ctx SpecContext, client *wire.Client, fields api.Fields) api.Generation {
	GinkgoHelper()
	stream, err := api.Execute(ctx, client, fields)
	Expect(err).NotTo(HaveOccurred())
	generation, err := api.ReadGeneration(stream)
	Expect(err).NotTo(HaveOccurred())
	Expect(generation.Failure).To(BeNil(), "the stream ended with an error")
	Expect(generation.End).NotTo(BeNil(), "the stream has no end event")
	Expect(generation.Tokens).NotTo(BeEmpty(), "no token came")
	return generation
}

// start starts a worker for one spec and returns its client.
func start(ctx SpecContext, subject *target.Target, launch process.Launch) (*process.Process, *wire.Client) {
	GinkgoHelper()
	worker, err := subject.Start(ctx, launch)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(worker.Kill)
	client := subject.ClientOf(worker)
	DeferCleanup(client.Close)
	return worker, client
}

// kvBlockBytes is the size of one block of the KV cache of the model under test, by the documented formula.
func kvBlockBytes(subject *target.Target) string {
	GinkgoHelper()
	file, err := gguf.Open(subject.Profile.Model)
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = file.Close() }()
	d, err := modelfile.Describe(file)
	Expect(err).NotTo(HaveOccurred())
	const positions, bytesOfHalf = 32, 2
	return strconv.Itoa(2 * d.BlockCount * d.HeadCountKV * d.HeadDim * positions * bytesOfHalf)
}
