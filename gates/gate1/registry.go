// Package gate1 holds the requirements of Gate 1, Foundation.
package gate1

import _ "embed"

// Registry is the YAML of the requirement registry, as requirement.Load reads it.
//
//go:embed gate1.yaml
var Registry []byte
