package requirement

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// Fault is a defect that can be injected, with the claims that it breaks.
type Fault struct {
	Name   string
	Claims []string
}

// Arm gives a registry as a gate keeps it, whose rows list claims, the faults that follow from those claims, and returns the
// registry as reports keep it, in the order of faults. A fault of other claims is none of this registry's; a row that no
// fault can turn red is an error.
func Arm(source []byte, faults []Fault) ([]byte, error) {
	registry, err := decode(source)
	if err != nil {
		return nil, err
	}
	var problems []error
	for i, row := range registry.Rows {
		if len(row.Faults) > 0 {
			problems = append(problems, fmt.Errorf("%s: faults: they follow from the claims, leave them out", row.ID))
		}
		for _, fault := range faults {
			if slices.ContainsFunc(fault.Claims, func(claim string) bool { return slices.Contains(row.Claims, claim) }) {
				registry.Rows[i].Faults = append(registry.Rows[i].Faults, fault.Name)
			}
		}
		if len(registry.Rows[i].Faults) == 0 {
			problems = append(problems, fmt.Errorf("%s: no fault breaks any of its claims %v: nothing shows that it can fail", row.ID, row.Claims))
		}
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("requirement registry %q: %w", registry.Gate, errors.Join(problems...))
	}
	armed, err := yaml.Marshal(registry)
	if err != nil {
		return nil, fmt.Errorf("requirement registry %q: %w", registry.Gate, err)
	}
	_, err = Load(armed)
	return armed, err
}
