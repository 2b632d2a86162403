package soak

import (
	"fmt"
	"slices"
)

// ControlResult says whether the soak could have seen what it looks for.
type ControlResult struct {
	// Seeds counts the requests that were sent with another seed, Changed those whose output changed.
	Seeds   int `json:"seeds"`
	Changed int `json:"changed"`
	// Flips counts the trials in which one token of one run of FlipOneIn was flipped before the comparison, Named those in
	// which exactly that run and step were named.
	Flips     int `json:"flips"`
	FlipOneIn int `json:"flipOneIn"`
	Named     int `json:"named"`
}

// flipTrials is the number of flipped tokens.
const flipTrials = 20

func controls(c *Contents) ControlResult {
	result := ControlResult{Seeds: len(c.Controls)}
	for _, control := range c.Controls {
		if reference, known := c.Reference(control.Request); known && Compare(reference, control.Outcome) != nil {
			result.Changed++
		}
	}
	sound := slices.DeleteFunc(slices.Clone(c.Records), func(r Record) bool { return r.Verdict != Same })
	const most = 1000
	sound = sound[:min(len(sound), most)]
	result.FlipOneIn = len(sound)
	d := newDraw(c.Header.Plan.MasterSeed, -1)
	for range flipTrials {
		if len(sound) == 0 {
			break
		}
		at := d.below(len(sound))
		reference, known := c.Reference(sound[at].Request)
		if !known || reference.Steps() == 0 {
			continue // nothing was generated: there is no token to flip
		}
		result.Flips++
		step := d.below(reference.Steps())
		if nameFlip(c, sound, at, reference.Flip(step), step) {
			result.Named++
		}
	}
	return result
}

// nameFlip puts a flipped outcome into a run and tells whether the divergence found first, and alone, is that.
func nameFlip(c *Contents, sound []Record, at int, flipped Outcome, step int) bool {
	output, err := c.Judge(Answer{Role: SubjectRole, Request: sound[at].Request, Outcome: flipped})
	if err != nil {
		return false
	}
	spoiled := slices.Clone(sound)
	spoiled[at].Outputs = []Output{output}
	found := Divergences(&c.Header.Plan, spoiled, maxListed)
	return len(found) == 1 && found[0].Run == sound[at].Index && found[0].Difference.Step == step
}

func (r ControlResult) problems() []string {
	var problems []string
	if r.Seeds > 0 && r.Changed == 0 {
		problems = append(problems, fmt.Sprintf("control: %s with another seed changed no output: the seed is ignored, or the outputs do not come from the model", plural(r.Seeds, "request")))
	}
	if r.Named < r.Flips {
		problems = append(problems, fmt.Sprintf("control: only %d of %d flipped tokens were named correctly", r.Named, r.Flips))
	}
	return problems
}
