package gate1_test

import (
	"flag"
	"testing"

	_ "github.com/onsi/ginkgo/v2" // by this import the ginkgo command knows a suite

	"touchstone/gates/gate1"
	"touchstone/gates/suite"
	"touchstone/suites/target"
)

var profile = target.Flags(flag.CommandLine)

func TestGate1(t *testing.T) { suite.Test(t, gate1.Gate, profile) }
