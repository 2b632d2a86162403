package shadow

import (
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"touchstone/suites/matchers"
)

// Agree fails the running spec if a step diverged: with what was expected, what came and where, and how to run the case again.
func Agree(divergence error, backend, caseName string) {
	ginkgo.GinkgoHelper()
	if divergence != nil {
		ginkgo.Fail(fmt.Sprintf("expected what the reference library gives: %v\non %s\n%s", divergence, backend, matchers.Rerun(caseName)))
	}
}
