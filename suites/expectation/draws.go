package expectation

import (
	"fmt"
	"math"
	"slices"

	"touchstone/suites/internal/sampling"
)

// Draw is one sampled token as a part of the unit interval: tokens stand in the order of their likelihood, each over its
// probability, and a worker that draws from the reference's distribution hits every part in proportion to its length.
type Draw struct {
	Case       string
	Position   int      // of the token
	Token      int32    // what was drawn
	Low, High  float64  // its part
	Within     float64  // where in its part the transform is taken: uniform, drawn by the harness
	Uncertain  float64  // how far the ends may be off, because a worker's logits may differ within the bound
	Groups     []string // what decides the draw besides the temperature: each group is also tested by itself
	Impossible string   // why the token could not be drawn at all; empty if it could
}

// transform is the probability integral transform, made continuous: uniform on [0, 1) if the distribution is the reference's.
func (d Draw) transform() float64 { return d.Low + d.Within*(d.High-d.Low) }

// Groups of draws. A bias of one setting shows among the draws that it decides, and is thinned out among all.
const (
	Unfiltered = "unfiltered"
	WithTopP   = "top_p"
	WithTopK   = "top_k"
	WithMinP   = "min_p"
	Penalised  = "penalty"
	allDraws   = "all"
)

var groups = []string{allDraws, Unfiltered, WithTopP, WithTopK, WithMinP, Penalised}

// decided is the probability of the likeliest token from which on a draw says too little: it would only thin out the others. What the
// worker drew has no part in that, so the rest is as uniform as all are.
const decided = 0.95

// groups are those that a draw belongs to.
func (d distribution) groups(s sampling.Settings) []string {
	if d.probabilities[d.order[0]] >= decided {
		return nil
	}
	out := []string{allDraws}
	for _, group := range []struct {
		name    string
		decides bool
	}{{WithTopP, s.TopP < 1}, {WithTopK, s.TopK > 0}, {WithMinP, s.MinP > 0}, {Penalised, s.Penalty != 1}} {
		if group.decides {
			out = append(out, group.name)
		}
	}
	if len(out) == 1 {
		out = append(out, Unfiltered)
	}
	return out
}

// Draws are all sampled tokens of a run.
type Draws []Draw

// FalseAlarm is the rate at which Test refuses draws from the right distribution, at most.
const FalseAlarm = 1e-6

// Outcome is what a test of one group of draws found.
type Outcome struct {
	Group    string  `json:"group"`
	Draws    int     `json:"draws"`
	Distance float64 `json:"distance"` // Kolmogorov and Smirnov's: the largest between the two distribution functions
	Limit    float64 `json:"limit"`    // of the distance, at the false-alarm rate
	Bound    float64 `json:"bound"`    // what the bound on the logits adds to it
	At       float64 `json:"at"`       // where the distance is
}

// Test compares the distribution of the transforms with the uniform one by Kolmogorov's distance, over all draws and over each group.
// The limit is that of Dvoretzky, Kiefer, Wolfowitz and Massart, which holds for every number of draws, at the false-alarm rate divided
// by the number of groups; to it comes what the bound on the logits allows. A token that could not be drawn fails by itself.
func (d Draws) Test() ([]Outcome, error) {
	for _, draw := range d {
		if draw.Impossible != "" {
			return nil, fmt.Errorf("token %d at position %d could not be drawn: %s\ncase GATE_CASE='%s'", draw.Token, draw.Position,
				draw.Impossible, draw.Case)
		}
	}
	values := map[string][]float64{}
	bounds := map[string]float64{}
	for _, draw := range d {
		for _, group := range draw.Groups {
			values[group] = append(values[group], draw.transform())
			bounds[group] += draw.Uncertain
		}
	}
	var out []Outcome
	for _, group := range groups {
		if len(values[group]) == 0 {
			continue
		}
		o := distance(values[group])
		o.Group, o.Bound = group, bounds[group]/float64(o.Draws)
		if out = append(out, o); o.Distance > o.Limit+o.Bound {
			return out, fmt.Errorf("%d sampled tokens (%s) do not follow the reference's distribution: the distance is %.4f at %.3f, "+
				"the limit %.4f (false-alarm rate %g) + %.4f (bound on logits)", o.Draws, group, o.Distance, o.At, o.Limit, FalseAlarm, o.Bound)
		}
	}
	return out, nil
}

func distance(values []float64) Outcome {
	slices.Sort(values)
	n := float64(len(values))
	out := Outcome{Draws: len(values), Limit: math.Sqrt(math.Log(2*float64(len(groups))/FalseAlarm) / (2 * n))}
	for i, value := range values {
		if distance := math.Max(value-float64(i)/n, float64(i+1)/n-value); distance > out.Distance {
			out.Distance, out.At = distance, value
		}
	}
	return out
}

// distribution is what a token may be drawn from, in the order of likelihood.
type distribution struct {
	order         []int // ids, the likeliest first
	probabilities []float64
}

func newDistribution(s sampling.Settings, logits []float32, history []int32) distribution {
	return distribution{order: sampling.Order(sampling.Scaled(s, logits, history)),
		probabilities: sampling.Distribution(s, logits, history).Probabilities}
}

// part is where a token lies in the unit interval.
func (d distribution) part(token int32) (low, high float64) {
	for _, id := range d.order {
		p := d.probabilities[id]
		if int32(id) == token {
			return low, low + p
		}
		low += p
	}
	return low, low
}
