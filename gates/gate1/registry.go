// Package gate1 holds the requirements of Gate 1, Foundation, its list of specs, and the faults that were seen to turn it red.
package gate1

import (
	_ "embed"

	"touchstone/fixtures/saboteurs"
	"touchstone/reports"
	"touchstone/reports/verdict"
	"touchstone/suites"
)

// Registry is the YAML of the requirement registry, as requirement.Load reads it.
//
//go:embed gate1.yaml
var Registry []byte

//go:embed plan.txt
var plan []byte

// Teeth is the outcome of playing the faults, as verdict.ReadTeeth reads it; `make teeth` writes it.
//
//go:embed teeth.json
var Teeth []byte

// Known is what a report of this gate has to agree with.
func Known() (reports.Known, error) {
	known := reports.Known{Registry: Registry}
	var err error
	if known.Plans, err = verdict.ParsePlans(plan); err != nil {
		return known, err
	}
	if known.SourcesSHA256, err = verdict.SourcesDigest(Registry, suites.Sources, saboteurs.Sources); err != nil {
		return known, err
	}
	known.Teeth, err = verdict.ReadTeeth(Teeth)
	return known, err
}
