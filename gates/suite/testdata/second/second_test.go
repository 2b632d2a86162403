// Package second is a gate of three rows from claims that other gates made: what a new gate needs.
package second

import (
	_ "embed"
	"flag"
	"testing"

	_ "github.com/onsi/ginkgo/v2" // by this import the ginkgo command knows a suite

	"touchstone/gates/suite"
	"touchstone/suites/api"
	"touchstone/suites/generation"
	"touchstone/suites/httpapi"
	"touchstone/suites/target"
)

//go:embed second.yaml
var requirements []byte

var profile = target.Flags(flag.CommandLine)

func TestGateSecond(t *testing.T) {
	suite.Test(t, suite.Gate{Name: "second", Requirements: requirements, API: api.Touchstone, Specs: func(subject func() *target.Target) {
		httpapi.Register(subject)
		generation.Register(subject, api.Touchstone)
	}}, profile)
}
