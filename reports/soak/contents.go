package soak

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Contents is what a ledger says.
type Contents struct {
	Header     Header
	Asked      int // runs asked for; 0: as many as time allows
	References []Reference
	Controls   []Control
	Records    []Record

	done map[int]bool
}

func newContents(header Header) Contents { return Contents{Header: header, done: map[int]bool{}} }

// take adds a line that was read.
func (c *Contents) take(line Line, number int) error {
	if number > 1 {
		return c.add(line)
	}
	if line.Header == nil || line.Header.Format != Format {
		return errNoHeader
	}
	*c = newContents(*line.Header)
	if got := c.Header.Plan.SHA256(); got != c.Header.PlanSHA256 {
		return fmt.Errorf("the plan has the sha256 %s, but the header says %s", got, c.Header.PlanSHA256)
	}
	return c.Header.Plan.Check()
}

// add adds a line; a run that is there already is refused.
func (c *Contents) add(line Line) error {
	requests := len(c.Header.Plan.Requests)
	inPlan := func(request int) error {
		if request < 0 || request >= requests {
			return fmt.Errorf("there is no request %d in the plan", request)
		}
		return nil
	}
	switch {
	case line.Asked != nil:
		c.Asked = *line.Asked
	case line.Reference != nil:
		c.References = append(c.References, *line.Reference)
		return inPlan(line.Reference.Request)
	case line.Control != nil:
		c.Controls = append(c.Controls, *line.Control)
		return inPlan(line.Control.Request)
	case line.Run != nil:
		index := line.Run.Index
		if index < 0 || c.done[index] {
			return fmt.Errorf("run %d is recorded twice", index)
		}
		for _, output := range line.Run.Outputs {
			if err := inPlan(output.Request); err != nil {
				return err
			}
		}
		c.done[index] = true
		c.Records = append(c.Records, *line.Run)
	default:
		return errors.New("it is neither a reference, a control nor a run")
	}
	return nil
}

// Has tells whether the run is recorded.
func (c *Contents) Has(index int) bool { return c.done[index] }

// Done is the number of runs that are recorded.
func (c *Contents) Done() int { return len(c.done) }

// Reference gives the reference of a request.
func (c *Contents) Reference(request int) (Outcome, bool) {
	for _, reference := range c.References {
		if reference.Request == request {
			return reference.Outcome, true
		}
	}
	return Outcome{}, false
}

// sameSoak tells why two ledgers cannot be one.
func (h Header) sameSoak(other Header) error {
	switch {
	case h.Plan.MasterSeed != other.Plan.MasterSeed:
		return fmt.Errorf("the master seed is %d in one and %d in the other", h.Plan.MasterSeed, other.Plan.MasterSeed)
	case h.PlanSHA256 != other.PlanSHA256:
		return fmt.Errorf("the plan is %.12s in one and %.12s in the other: requests or factors differ", h.PlanSHA256, other.PlanSHA256)
	case h.Subject != other.Subject:
		return fmt.Errorf("the subject is %+v in one and %+v in the other", h.Subject, other.Subject)
	}
	return nil
}

// Merge joins ledgers of one soak. References and controls on which they agree become one; where shards disagree, all are
// kept, and the report says so. A run that two ledgers hold is an error.
func Merge(ledgers ...Contents) (Contents, error) {
	if len(ledgers) == 0 {
		return Contents{}, errors.New("there is no ledger to merge")
	}
	header := ledgers[0].Header
	header.Local = nil
	merged := newContents(header)
	for i, ledger := range ledgers {
		if err := header.sameSoak(ledger.Header); err != nil {
			return Contents{}, fmt.Errorf("ledgers 1 and %d are of different soaks: %w", i+1, err)
		}
		merged.Asked = max(merged.Asked, ledger.Asked)
		merged.References = append(merged.References, ledger.References...)
		merged.Controls = append(merged.Controls, ledger.Controls...)
		for _, record := range ledger.Records {
			if err := merged.add(Line{Run: &record}); err != nil {
				return Contents{}, fmt.Errorf("ledger %d: %w", i+1, err)
			}
		}
	}
	merged.sort()
	return merged, nil
}

// sort puts a ledger in order and drops references and controls that are there twice.
func (c *Contents) sort() {
	slices.SortFunc(c.Records, func(a, b Record) int { return a.Index - b.Index })
	references := map[string]Reference{}
	for _, r := range c.References {
		references[fmt.Sprintf("%09d %s %s", r.Request, r.Outcome.SHA256(), r.Outcome.TextSHA256())] = r
	}
	c.References = inOrder(references)
	controls := map[string]Control{}
	for _, r := range c.Controls {
		controls[fmt.Sprintf("%09d %020d %s %s", r.Request, r.Seed, r.Outcome.SHA256(), r.Outcome.TextSHA256())] = r
	}
	c.Controls = inOrder(controls)
}

func inOrder[T any](byKey map[string]T) []T {
	var values []T
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		values = append(values, byKey[key])
	}
	return values
}

// Canonical is the ledger in order and without what differs between two soaks that agree: times, memory and places. The
// shards of a soak, merged, give the bytes of the same soak in one piece.
func (c *Contents) Canonical() []byte {
	canonical := *c
	canonical.Header.Local = nil
	canonical.References, canonical.Controls, canonical.Records = slices.Clone(c.References), slices.Clone(c.Controls), slices.Clone(c.Records)
	canonical.sort()
	for i := range canonical.Records {
		canonical.Records[i].Volatile = nil
	}
	return canonical.encode()
}

// encode writes all lines.
func (c *Contents) encode() []byte {
	lines := []Line{{Header: &c.Header}, {Asked: &c.Asked}}
	for i := range c.References {
		lines = append(lines, Line{Reference: &c.References[i]})
	}
	for i := range c.Controls {
		lines = append(lines, Line{Control: &c.Controls[i]})
	}
	for i := range c.Records {
		lines = append(lines, Line{Run: &c.Records[i]})
	}
	var text []byte
	for _, line := range lines {
		text = append(text, line.encode()...)
	}
	return text
}
