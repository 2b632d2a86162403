package requirement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"
)

// CheckTree compares the specs of a built suite with the registry and returns one error that lists
// everything wrong: an unknown id, a spec without an id or with several, a row without a spec, a row
// without a fault, FlakeAttempts, and, when knownFaults is not nil, a fault of a row that nobody
// implements and an implemented fault that no row names.
//
// specs come from ginkgo.PreviewSpecs(...).SpecReports; nodes that are not specs are ignored.
func (r *Registry) CheckTree(specs types.SpecReports, knownFaults []string) error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	specsOfRow := map[string]int{}
	for _, spec := range specs.WithLeafNodeType(types.NodeTypeIt) {
		where := fmt.Sprintf("spec %q (%s)", spec.FullText(), spec.LeafNodeLocation)
		ids := IDs(spec.Labels())
		switch len(ids) {
		case 0:
			report("%s names no requirement: add requirement.ID(...)", where)
		case 1:
		default:
			report("%s names %d requirements (%s): split it, one spec proves one row", where, len(ids), strings.Join(ids, ", "))
		}
		for _, id := range ids {
			if _, known := r.Row(id); !known {
				report("%s names the unknown requirement %s: it is not in the registry %q", where, id, r.Gate)
			}
			specsOfRow[id]++
		}
		if spec.MaxFlakeAttempts > 1 {
			report("%s uses FlakeAttempts(%d): a gate does not retry", where, spec.MaxFlakeAttempts)
		}
	}
	for _, row := range r.Rows {
		if specsOfRow[row.ID] == 0 {
			report("row %s (%s) has no spec", row.ID, row.Title)
		}
		if len(row.Faults) == 0 {
			report("row %s (%s) has no fault: nothing shows that it can fail", row.ID, row.Title)
		}
	}
	problems = append(problems, r.checkFaults(knownFaults)...)
	return errors.Join(problems...)
}

func (r *Registry) checkFaults(known []string) []error {
	if known == nil {
		return nil
	}
	var problems []error
	named := map[string]bool{}
	for _, row := range r.Rows {
		for _, fault := range row.Faults {
			named[fault] = true
			if !slices.Contains(known, fault) {
				problems = append(problems, fmt.Errorf("row %s names the fault %q, which no saboteur implements", row.ID, fault))
			}
		}
	}
	for _, fault := range known {
		if !named[fault] {
			problems = append(problems, fmt.Errorf("the fault %q names no row of the registry %q", fault, r.Gate))
		}
	}
	return problems
}
