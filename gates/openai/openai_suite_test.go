package openai_test

import (
	"flag"
	"testing"

	_ "github.com/onsi/ginkgo/v2" // by this import the ginkgo command knows a suite

	"touchstone/gates/openai"
	"touchstone/gates/suite"
	"touchstone/suites/target"
)

var profile = target.Flags(flag.CommandLine)

func TestGateOpenAI(t *testing.T) { suite.Test(t, openai.Gate, profile) }
