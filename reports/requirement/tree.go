package requirement

import (
	"errors"
	"fmt"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// CheckTree compares the specs of a built suite with the registry and returns one error that lists everything wrong: a spec
// without a claim, with several, or with one that no row lists, a claim of a row without a spec, a row without a fault, and
// FlakeAttempts.
//
// specs come from ginkgo.PreviewSpecs(...).SpecReports; nodes that are not specs are ignored.
func (r *Registry) CheckTree(specs types.SpecReports) error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	specsOf := map[string]int{}
	for _, spec := range specs.WithLeafNodeType(types.NodeTypeIt) {
		where := fmt.Sprintf("spec %q (%s)", spec.FullText(), spec.LeafNodeLocation)
		claims := Claims(spec.Labels())
		switch len(claims) {
		case 0:
			report("%s makes no claim: add requirement.Claim(...)", where)
		case 1:
		default:
			report("%s makes %d claims (%s): split it, one spec proves one claim", where, len(claims), strings.Join(claims, ", "))
		}
		for _, claim := range claims {
			if _, listed := r.RowOf(claim); !listed {
				report("%s makes the claim %s, which no row of the registry %q lists", where, claim, r.Gate)
			}
			specsOf[claim]++
		}
		if spec.MaxFlakeAttempts > 1 {
			report("%s uses FlakeAttempts(%d): a gate does not retry", where, spec.MaxFlakeAttempts)
		}
	}
	for _, row := range r.Rows {
		for _, claim := range row.Claims {
			if specsOf[claim] == 0 {
				report("row %s (%s) lists the claim %s, which no spec makes", row.ID, row.Title, claim)
			}
		}
		if len(row.Faults) == 0 {
			report("row %s (%s) has no fault: nothing shows that it can fail", row.ID, row.Title)
		}
	}
	return errors.Join(problems...)
}
