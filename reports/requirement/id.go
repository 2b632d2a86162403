// Package requirement is the model of a gate's requirements: the registry that fixes the denominator
// of a gate, and the helper with which a spec names the row it proves.
package requirement

import (
	"regexp"

	"github.com/onsi/ginkgo/v2"
)

var idPattern = regexp.MustCompile(`^[A-Z][A-Z0-9]*-[0-9]{2,}$`)

// ID labels a spec with the registry row it proves:
//
//	It("streams one event per token", requirement.ID("HTTP-04"), func(ctx SpecContext) { ... })
//
// Every spec of a gate names exactly one row, on itself or on a container around it. An id that the
// registry does not know is refused by Registry.CheckTree before any spec runs.
func ID(id string) ginkgo.Labels {
	return ginkgo.Label(id)
}

// IsID reports whether a label has the form of a requirement id, such as "HTTP-04".
func IsID(label string) bool {
	return idPattern.MatchString(label)
}

// IDs returns those labels that have the form of a requirement id, in order.
func IDs(labels []string) []string {
	var ids []string
	for _, label := range labels {
		if IsID(label) {
			ids = append(ids, label)
		}
	}
	return ids
}
