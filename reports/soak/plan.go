// Package soak says what a soak draws, keeps a ledger of every run, and computes the report from the ledger alone.
//
// A soak repeats requests under conditions that must not matter and compares every output with the reference of its request.
// A run is a pure function of (plan, index): shards on other machines draw the same runs, and one run can be drawn again by
// itself. Whoever executes runs is no part of the package.
package soak

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// Request is what is asked for, again and again. Ranges as in POST /execute.
type Request struct {
	Prompt            string  `json:"prompt"`
	MaxTokens         int     `json:"maxTokens"`
	Temperature       float64 `json:"temperature"`
	TopK              int     `json:"topK"`
	TopP              float64 `json:"topP"`
	MinP              float64 `json:"minP"`
	RepetitionPenalty float64 `json:"repetitionPenalty"`
	Seed              uint64  `json:"seed"`
}

// Level is one value of a factor. It is drawn with a probability proportional to its weight.
type Level struct {
	Name   string `json:"name"`
	Weight int    `json:"weight"` // at least 1
}

// Factor is a condition that must not matter. Its first level is the baseline, under which references are made.
type Factor struct {
	Name   string  `json:"name"`
	Levels []Level `json:"levels"`
	// On restricts the factor to the runs whose factor "route" has this level; empty: all runs.
	On string `json:"on,omitempty"`
}

// Baseline is the factor's first level.
func (f Factor) Baseline() string { return f.Levels[0].Name }

// The factors with a meaning of their own to plans.
const (
	Route   = "route"   // how the request reaches the model
	Company = "company" // how many other requests run beside it: a number
)

// Plan is what a soak draws from.
type Plan struct {
	MasterSeed uint64    `json:"masterSeed"`
	Requests   []Request `json:"requests"`
	Factors    []Factor  `json:"factors"`
}

// Check refuses a plan from which nothing can be drawn.
func (p *Plan) Check() error {
	if len(p.Requests) == 0 {
		return errors.New("the plan has no request")
	}
	for i, factor := range p.Factors {
		if len(factor.Levels) == 0 {
			return fmt.Errorf("the factor %q has no level", factor.Name)
		}
		if factor.On != "" && (i == 0 || p.Factors[0].Name != Route) {
			return fmt.Errorf("the factor %q depends on the route, which must be the first factor", factor.Name)
		}
		for _, level := range factor.Levels {
			if level.Weight < 1 {
				return fmt.Errorf("the level %q of %q has the weight %d, want at least 1", level.Name, factor.Name, level.Weight)
			}
			if n, err := strconv.Atoi(level.Name); factor.Name == Company && (err != nil || n < 0) {
				return fmt.Errorf("the level %q of %q is not a number of requests", level.Name, Company)
			}
		}
	}
	return nil
}

// SHA256 names the plan, in lower-case hex.
func (p *Plan) SHA256() string { return digest(p) }

// Run is one run as it was drawn.
type Run struct {
	Index   int               `json:"index"`
	Request int               `json:"request"`           // index of the plan's request
	Levels  map[string]string `json:"levels"`            // by factor
	Company []int             `json:"company,omitempty"` // the plan's requests that run beside it
}

// Named gives the factors of the run that apply, as "factor=level".
func (r Run) Named(factors []string) []string {
	var named []string
	for _, factor := range factors {
		if level, applies := r.Levels[factor]; applies {
			named = append(named, factor+"="+level)
		}
	}
	return named
}

// Draw gives run index of the plan.
func (p *Plan) Draw(index int) Run {
	d := newDraw(p.MasterSeed, index)
	run := Run{Index: index, Request: d.below(len(p.Requests)), Levels: map[string]string{}}
	company := 0
	for _, factor := range p.Factors {
		level := d.level(factor)
		if factor.On != "" && run.Levels[Route] != factor.On {
			continue
		}
		run.Levels[factor.Name] = level
		if factor.Name == Company {
			company, _ = strconv.Atoi(level) // Check saw to it
		}
	}
	for range company {
		run.Company = append(run.Company, d.below(len(p.Requests)))
	}
	return run
}

// Varied lists the factors of a run that are not at their baseline, in the plan's order.
func (p *Plan) Varied(run Run) []string {
	var varied []string
	for _, factor := range p.Factors {
		if level, applies := run.Levels[factor.Name]; applies && level != factor.Baseline() {
			varied = append(varied, factor.Name)
		}
	}
	return varied
}

// Reduce gives the run with only the named factors as drawn and all others at their baseline.
func (p *Plan) Reduce(run Run, keep []string) Run {
	reduced := Run{Index: run.Index, Request: run.Request, Levels: map[string]string{}}
	for _, factor := range p.Factors {
		level, applies := run.Levels[factor.Name]
		if !applies || !slices.Contains(keep, factor.Name) {
			level = factor.Baseline()
		}
		if factor.On != "" && reduced.Levels[Route] != factor.On {
			continue
		}
		reduced.Levels[factor.Name] = level
	}
	if n, err := strconv.Atoi(reduced.Levels[Company]); err == nil {
		reduced.Company = slices.Clone(run.Company[:min(n, len(run.Company))])
	}
	return reduced
}

// Partner is the request that shares a prefix with the given one: requests come in pairs.
func (p *Plan) Partner(request int) int {
	if partner := request ^ 1; partner < len(p.Requests) {
		return partner
	}
	return request
}

// draw is a stream of numbers from SHA-256(master seed, index, counter): the same on every machine and in every version.
type draw struct {
	block [24]byte
}

func newDraw(masterSeed uint64, index int) *draw {
	d := &draw{}
	binary.LittleEndian.PutUint64(d.block[0:], masterSeed)
	binary.LittleEndian.PutUint64(d.block[8:], uint64(index))
	return d
}

func (d *draw) uint64() uint64 {
	sum := sha256.Sum256(d.block[:])
	binary.LittleEndian.PutUint64(d.block[16:], binary.LittleEndian.Uint64(d.block[16:])+1)
	return binary.LittleEndian.Uint64(sum[:])
}

// below gives a number from 0 to n-1. The bias of the remainder is below n / 2^64.
func (d *draw) below(n int) int { return int(d.uint64() % uint64(n)) }

func (d *draw) level(factor Factor) string {
	total := 0
	for _, level := range factor.Levels {
		total += level.Weight
	}
	n := d.below(total)
	for _, level := range factor.Levels {
		if n < level.Weight {
			return level.Name
		}
		n -= level.Weight
	}
	return factor.Baseline()
}

// digest is the SHA-256 of a value's JSON, whose map keys are sorted.
func digest(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		panic(err) // plans and outcomes hold plain finite values only
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
