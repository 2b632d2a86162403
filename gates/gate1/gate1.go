// Package gate1 is Gate 1, Foundation: its requirements, its list of specs, and the faults that were seen to turn it red.
package gate1

import (
	_ "embed"

	. "github.com/onsi/ginkgo/v2"

	"touchstone/gates/suite"
	"touchstone/suites/api"
	"touchstone/suites/cuda"
	"touchstone/suites/determinism"
	"touchstone/suites/ffi"
	"touchstone/suites/generation"
	"touchstone/suites/httpapi"
	"touchstone/suites/integration"
	"touchstone/suites/kernels"
	"touchstone/suites/kvcache"
	"touchstone/suites/performance"
	"touchstone/suites/server"
	"touchstone/suites/target"
)

//go:embed gate1.yaml
var requirements []byte

//go:embed plan.txt
var plan []byte

//go:embed teeth.json
var teeth []byte

// Gate is Gate 1.
var Gate = suite.Gate{Name: "gate1", Requirements: requirements, Plan: plan, Teeth: teeth, API: api.Touchstone, Specs: specs}

func specs(subject func() *target.Target) {
	Describe("HTTP", func() {
		server.Register(subject, api.Touchstone)
		httpapi.Register(subject)
		generation.Register(subject, api.Touchstone)
	})
	Describe("FFI", func() { ffi.Register(subject) })
	Describe("CUDA", func() { cuda.Register(subject) })
	Describe("kernels", func() { kernels.Register(subject) })
	Describe("KV cache", func() { kvcache.Register(subject) })
	Describe("integration", func() {
		integration.RegisterHarness(subject, api.Touchstone)
		integration.Register(subject)
		determinism.Register(subject)
		performance.Register(subject, api.Touchstone)
	})
}
