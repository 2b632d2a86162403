// Package include makes the ABI's header part of Go's build graph: a changed header rebuilds every package that includes it.
package include

import "embed"

// Headers is the C ABI.
//
//go:embed touchstone.h
var Headers embed.FS
