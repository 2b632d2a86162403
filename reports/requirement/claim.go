// Package requirement is the model of a gate's requirements: the registry that fixes the denominator of a gate, and the
// claims by which specs, rows and faults find each other.
package requirement

import (
	"regexp"

	"github.com/onsi/ginkgo/v2"
)

var (
	idPattern    = regexp.MustCompile(`^[A-Z][A-Z0-9]*-[0-9]{2,}$`)
	claimPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*$`)
)

// Claim labels specs with what they prove, by a short stable name such as "stream.one-terminal":
//
//	Describe("the end of a stream", requirement.Claim("stream.one-terminal"), func() { ... })
//
// Specs know claims and no row: a row of a registry lists the claims that make it, so that several gates share one set of
// specs. Every spec of a gate makes exactly one claim, by the container around it. A container whose claim no row of the gate
// lists is left out of its tree; see Registry.Select.
func Claim(name string) ginkgo.Labels { return ginkgo.Label(name) }

// IsClaim reports whether a label has the form of a claim, such as "stream.one-terminal".
func IsClaim(label string) bool { return claimPattern.MatchString(label) }

// Claims returns those labels that have the form of a claim, in order.
func Claims(labels []string) []string { return matching(labels, IsClaim) }

// IsID reports whether a label has the form of a row's id, such as "HTTP-04".
func IsID(label string) bool { return idPattern.MatchString(label) }

// IDs returns those labels that have the form of a row's id, in order.
func IDs(labels []string) []string { return matching(labels, IsID) }

func matching(labels []string, has func(string) bool) []string {
	var found []string
	for _, label := range labels {
		if has(label) {
			found = append(found, label)
		}
	}
	return found
}
