// Package kvcache holds the specs of the KV cache: its size, its blocks, and that no state of it ever shows in a logit.
package kvcache

import (
	"time"

	"touchstone/suites/target"
)

const specTimeout = 60 * time.Second

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	registerAllocation(subject)
	registerManagement(subject)
	registerGrowth(subject)
	registerShadow(subject)
}
