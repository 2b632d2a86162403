package verdict

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Plans are the trees of specs that a gate's harness has, by the name of the tree; a gate with one tree calls it "".
type Plans map[string][]PlannedSpec

// planColumns are the tree, the row and the text of a spec, on one line.
const planColumns = 3

// ParsePlans reads the form that Plans.Encode writes.
func ParsePlans(text []byte) (Plans, error) {
	plans := Plans{}
	for i, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		columns := strings.SplitN(line, "\t", planColumns)
		if len(columns) != planColumns || columns[1] == "" || columns[2] == "" {
			return nil, fmt.Errorf("plan of specs, line %d: want tree, row and spec, parted by tabs", i+1)
		}
		plans[columns[0]] = append(plans[columns[0]], PlannedSpec{Row: columns[1], Text: columns[2]})
	}
	return plans, nil
}

// Encode lists every spec on a line, sorted: tree, row and text, parted by tabs.
func (p Plans) Encode() []byte {
	var lines []string
	for tree, specs := range p {
		for _, spec := range specs {
			lines = append(lines, fmt.Sprintf("%s\t%s\t%s\n", tree, spec.Row, spec.Text))
		}
	}
	slices.Sort(lines)
	var out bytes.Buffer
	for _, line := range lines {
		out.WriteString(line)
	}
	return out.Bytes()
}

// Compare is nil if specs are exactly those of the named tree, and else lists each spec too few and too many.
func (p Plans) Compare(tree string, specs []PlannedSpec) error {
	known, found := p[tree]
	if !found {
		return fmt.Errorf("this harness has no tree of specs %q", tree)
	}
	count := map[PlannedSpec]int{}
	for _, spec := range known {
		count[spec]++
	}
	var problems []error
	for _, spec := range specs {
		if count[spec]--; count[spec] < 0 {
			problems = append(problems, fmt.Errorf("the spec %q of %s is not one of this harness", spec.Text, spec.Row))
		}
	}
	for _, spec := range known {
		if count[spec] > 0 {
			count[spec]--
			problems = append(problems, fmt.Errorf("the spec %q of %s is missing", spec.Text, spec.Row))
		}
	}
	return errors.Join(problems...)
}
