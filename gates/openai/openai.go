// Package openai is the gate for servers of the OpenAI API: its requirements, its list of specs, and the faults that were seen
// to turn it red.
package openai

import (
	_ "embed"

	. "github.com/onsi/ginkgo/v2"

	"touchstone/gates/suite"
	"touchstone/suites/api"
	"touchstone/suites/determinism"
	"touchstone/suites/generation"
	"touchstone/suites/integration"
	"touchstone/suites/openaiapi"
	"touchstone/suites/server"
	"touchstone/suites/target"
)

//go:embed openai.yaml
var requirements []byte

//go:embed plan.txt
var plan []byte

//go:embed teeth.json
var teeth []byte

// Gate is the gate for servers of the OpenAI API.
var Gate = suite.Gate{Name: "openai", Requirements: requirements, Plan: plan, Teeth: teeth, API: api.OpenAICompletions, Specs: specs}

func specs(subject func() *target.Target) {
	Describe("server", func() {
		server.Register(subject, api.OpenAICompletions)
		openaiapi.Register(subject)
	})
	generation.Register(subject, api.OpenAICompletions)
	generation.Register(subject, api.OpenAIChat)
	Describe("harness", func() {
		integration.RegisterHarness(subject, api.OpenAICompletions)
		determinism.RegisterRuns(subject)
	})
}
