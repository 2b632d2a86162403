package soak

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// Check draws and judges every run of a ledger again and returns what is not as recorded.
func (c *Contents) Check() []string {
	var problems []string
	for i := range c.Records {
		if problem := c.checkRecord(&c.Records[i]); problem != "" {
			problems = append(problems, fmt.Sprintf("run %d: %s", c.Records[i].Index, problem))
		}
	}
	if c.Header.Local != nil {
		shard, err := ParseShard(c.Header.Local.Shard)
		if err != nil {
			problems = append(problems, "the header's shard: "+err.Error())
		}
		for _, record := range c.Records {
			if err == nil && !shard.Has(record.Index) {
				problems = append(problems, fmt.Sprintf("run %d does not belong to shard %s", record.Index, shard))
			}
		}
	}
	return problems
}

func (c *Contents) checkRecord(record *Record) string {
	plan := &c.Header.Plan
	if drawn := plan.Draw(record.Index); drawn.Request != record.Request || !maps.Equal(drawn.Levels, record.Levels) || !slices.Equal(drawn.Company, record.Company) {
		return "it is not the run that the master seed draws"
	}
	verdict := Same
	for _, output := range record.Outputs {
		if problem := c.checkOutput(&output); problem != "" {
			return output.Role + ": " + problem
		}
		if output.Difference != nil {
			verdict = Diverged
		}
	}
	if record.Verdict == Errored {
		return ""
	}
	if record.Verdict != verdict {
		return fmt.Sprintf("it is recorded as %q, but its outputs say %q", record.Verdict, verdict)
	}
	want := map[string]int{SubjectRole: record.Request}
	for i, request := range record.Company {
		want["company "+strconv.Itoa(i+1)] = request
	}
	for _, output := range record.Outputs {
		if request, expected := want[output.Role]; expected && request == output.Request {
			delete(want, output.Role)
		}
	}
	if len(want) > 0 {
		return fmt.Sprintf("outputs are missing: %v", slices.Sorted(maps.Keys(want)))
	}
	return ""
}

// checkOutput compares an output with the references of its request: one, or several where shards disagree.
func (c *Contents) checkOutput(output *Output) string {
	found := false
	for _, reference := range c.References {
		if reference.Request != output.Request {
			continue
		}
		found = true
		if output.Difference == nil {
			sameText := output.TextSHA256 == "" || output.TextSHA256 == reference.Outcome.TextSHA256()
			if output.SHA256 == reference.Outcome.SHA256() && sameText {
				return ""
			}
			continue
		}
		if output.Outcome != nil && output.Outcome.SHA256() == output.SHA256 && reflect.DeepEqual(Compare(reference.Outcome, *output.Outcome), output.Difference) {
			return ""
		}
	}
	if !found {
		return fmt.Sprintf("the ledger has no reference of request %d", output.Request)
	}
	if output.Difference == nil {
		return "it counts as the same, but its hash is not that of the reference"
	}
	return "its difference is not the one between its outcome and the reference"
}
