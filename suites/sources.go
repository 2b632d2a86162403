// Package suites is the root of the specs. Its sources are part of what a report and the outcome of faults are bound to.
package suites

import "embed"

// Sources are the programs of all suites, with the snapshot of the ABI that they hold.
//
//go:embed *
var Sources embed.FS
