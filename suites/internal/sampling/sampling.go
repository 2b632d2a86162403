// Package sampling is the choice of a token in float64: what the documented rules (native/NUMERICS.md, ts_sampling) give, worked
// out without any code of a library under test.
package sampling

import (
	"fmt"
	"math"
	"slices"
)

const (
	u     = 0x1p-24 // unit roundoff of binary32: the relative error of one correctly rounded operation
	slack = 1.01    // covers the terms of second order that the bounds leave out
)

// Settings say how a token is chosen. Numbers that the ABI takes as binary32 are rounded to it before they are used.
type Settings struct {
	Temperature, TopP, MinP, Penalty float64
	TopK                             int
	Seed                             uint64
	Position                         int
}

// String names the setting.
func (s Settings) String() string {
	return fmt.Sprintf("sample:temperature=%v,top_k=%d,top_p=%v,min_p=%v,penalty=%v,seed=%d,position=%d",
		s.Temperature, s.TopK, s.TopP, s.MinP, s.Penalty, s.Seed, s.Position)
}

// Reference is what a draw may give: probabilities with bounds, and the tokens that the random number allows (two where it
// falls on a boundary within the bounds).
type Reference struct {
	Probabilities []float64
	Bounds        []float64
	Tokens        []int32
}

// Distribution follows the documented order: repetition penalty over the history, temperature, top-k, top-p, min-p. The
// penalty and the temperature are single roundings and are done in binary32, so that ties stay ties; the rest is float64.
//
// A probability's relative error: the difference to the largest logit and its exp give (|d| + 2) u, the sum the weighted mean
// of those, conversions and the division 4 u. Weights are kept in steps of 2^-40, which adds an absolute 2^-40 each.
func Distribution(s Settings, logits []float32, history []int32) Reference {
	scaled := Scaled(s, logits, history)
	ranked := Order(scaled)
	out := Reference{Probabilities: make([]float64, len(logits)), Bounds: make([]float64, len(logits))}
	if s.Temperature == 0 || math.IsInf(scaled[ranked[0]], 0) {
		out.Probabilities[ranked[0]] = 1
		return out
	}
	weights := make([]float64, len(scaled))
	for i := range weights {
		weights[i] = math.Exp(scaled[i] - scaled[ranked[0]])
	}
	out.fill(keep(s, ranked, weights), scaled, weights, scaled[ranked[0]])
	return out
}

// Sample is Distribution with the draw: Philox keyed by the seed, at the position.
func Sample(s Settings, logits []float32, history []int32) Reference {
	out := Distribution(s, logits, history)
	out.draw(Uniform(s.Seed, s.Position))
	return out
}

// Scaled are the logits after the penalty and the temperature; temperature 0 does not divide.
func Scaled(s Settings, logits []float32, history []int32) []float64 {
	seen := map[int32]bool{}
	for _, id := range history {
		seen[id] = true
	}
	penalty, temperature := float32(s.Penalty), float32(s.Temperature)
	scaled := make([]float64, len(logits))
	for i, logit := range logits {
		if penalty != 1 && seen[int32(i)] {
			if logit > 0 {
				logit /= penalty
			} else {
				logit *= penalty
			}
		}
		if temperature > 0 {
			logit /= temperature
		}
		scaled[i] = float64(logit)
	}
	return scaled
}

// keep returns which ids stay after top-k, top-p and min-p.
func keep(s Settings, ranked []int, weights []float64) []bool {
	candidates := ranked
	if s.TopK > 0 && s.TopK < len(ranked) {
		candidates = ranked[:s.TopK]
	}
	if s.TopP < 1 {
		var total, sum float64
		for _, id := range candidates {
			total += weights[id]
		}
		for i, id := range candidates {
			if sum += weights[id]; sum >= float64(float32(s.TopP))*total {
				candidates = candidates[:i+1]
				break
			}
		}
	}
	kept := make([]bool, len(weights))
	for _, id := range candidates {
		kept[id] = weights[id] >= float64(float32(s.MinP))
	}
	return kept
}

func (r *Reference) fill(kept []bool, scaled, weights []float64, largest float64) {
	var total, totalError float64
	errors := make([]float64, len(weights))
	for i, weight := range weights {
		if kept[i] {
			errors[i] = weight*(math.Abs(scaled[i]-largest)+2)*u + 0x1p-40
			total += weight
			totalError += errors[i]
		}
	}
	for i, weight := range weights {
		if kept[i] {
			p := weight / total
			r.Probabilities[i] = p
			r.Bounds[i] = (errors[i]/total + p*(totalError/total+4*u)) * slack
		}
	}
}

// draw takes the first id whose cumulative probability exceeds the random number, and its neighbour where the number is
// within the bounds of the boundary between them.
func (r *Reference) draw(random float64) {
	var sum, uncertainty float64
	for i, p := range r.Probabilities {
		if p == 0 {
			continue
		}
		previous := sum
		sum += p
		uncertainty += r.Bounds[i]
		if random < sum+uncertainty && random >= previous-uncertainty {
			r.Tokens = append(r.Tokens, int32(i))
		}
	}
}

// Order lists ids by value, larger first, the lower id first among equals.
func Order(values []float64) []int {
	ids := make([]int, len(values))
	for i := range ids {
		ids[i] = i
	}
	slices.SortFunc(ids, func(a, b int) int {
		switch {
		case values[a] > values[b]:
			return -1
		case values[a] < values[b]:
			return 1
		}
		return a - b
	})
	return ids
}
