// Package catalogue lists the gates of this harness.
package catalogue

import (
	"touchstone/gates/gate1"
	"touchstone/gates/openai"
	"touchstone/gates/suite"
)

// Gates are all gates, in the order in which a list shows them.
var Gates = []suite.Gate{gate1.Gate, openai.Gate}
