// Package matchers holds Gomega matchers whose failures teach: what was expected, what came, where they first part, and the
// command that runs that one case again.
package matchers

import (
	"fmt"
	"regexp"

	"github.com/onsi/ginkgo/v2"
)

// Rerun is the command that runs the current spec again, restricted to one case if caseName is not empty. Ginkgo
// matches the focus against the description of the suite and the text, so it is anchored at the end alone.
func Rerun(caseName string) string {
	text := ginkgo.CurrentSpecReport().FullText()
	prefix := ""
	if caseName != "" {
		prefix = fmt.Sprintf("GATE_CASE='%s' ", caseName)
	}
	return fmt.Sprintf("rerun: %sgo tool ginkgo run --focus='%s$' ./gates/gate1", prefix, regexp.QuoteMeta(text))
}
