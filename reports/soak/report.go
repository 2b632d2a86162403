package soak

import (
	"fmt"
	"slices"
	"strings"

	"touchstone/reports/harmless"
)

// Report is what a ledger proves. It is computed from the ledger alone.
type Report struct {
	Verdict    string  `json:"verdict"` // PASS, FAIL or INCOMPLETE
	Line       string  `json:"line"`    // the verdict with its subject
	Subject    Subject `json:"subject"`
	MasterSeed uint64  `json:"masterSeed"`
	PlanSHA256 string  `json:"planSha256"`
	Shard      string  `json:"shard,omitempty"` // empty for a merged ledger

	Asked    int `json:"asked"` // runs asked for in this shard; 0: as many as time allowed
	Runs     int `json:"runs"`
	Missing  int `json:"missing"`
	Diverged int `json:"diverged"`
	Errors   int `json:"errors"`
	Outputs  int `json:"outputs"` // compared with references

	// UpperBound bounds, at 95 % confidence, the probability that a run of this plan diverges or has no answer.
	UpperBound  float64 `json:"upperBound95"`
	RuleOfThree float64 `json:"ruleOfThree"`

	Problems    []string      `json:"problems,omitempty"`
	Requests    []RequestRow  `json:"requests"`
	Factors     []FactorRow   `json:"factors"`
	Divergences []Divergence  `json:"divergences,omitempty"` // the first ones by index of the run
	Failures    []Failure     `json:"failures,omitempty"`    // the first runs without an answer
	Controls    ControlResult `json:"controls"`
	Timing      Timing        `json:"timing"`
}

// RequestRow is a request with what became of it.
type RequestRow struct {
	Request  int    `json:"request"`
	Prompt   string `json:"prompt"`
	Outputs  int    `json:"outputs"` // compared, with those of company
	Distinct int    `json:"distinct"`
}

// FactorRow is a level of a factor with the runs that had it.
type FactorRow struct {
	Factor   string `json:"factor"`
	Level    string `json:"level"`
	Runs     int    `json:"runs"`
	Failed   int    `json:"failed"` // diverged or without an answer
	Baseline bool   `json:"baseline"`
	// UpperBound bounds, at 95 % confidence, the probability that a run with this level fails.
	UpperBound float64 `json:"upperBound95"`
}

// Divergence is an output that is not that of its reference.
type Divergence struct {
	Run        int        `json:"run"`
	Role       string     `json:"role"`
	Request    int        `json:"request"`
	Difference Difference `json:"difference"`
	// Varied are the factors that were not at their baseline, as "factor=level".
	Varied []string `json:"varied"`
}

// Failure is a run without an answer.
type Failure struct {
	Run   int    `json:"run"`
	Error string `json:"error"`
}

// maxListed is how many divergences and failures a report lists; the ledger has them all.
const maxListed = 20

// NewReport computes the report of a ledger. Every text in it is harmless to show; see package harmless.
func NewReport(c *Contents) Report {
	plan := &c.Header.Plan
	r := Report{
		Subject: c.Header.Subject, MasterSeed: plan.MasterSeed, PlanSHA256: c.Header.PlanSHA256, Runs: len(c.Records),
	}
	shard := Shard{}
	if c.Header.Local != nil {
		r.Shard = c.Header.Local.Shard
		shard, _ = ParseShard(r.Shard) // an unreadable one counts as the whole
	}
	for index := range c.Asked {
		if !shard.Has(index) {
			continue
		}
		r.Asked++
		if !c.Has(index) {
			r.Missing++
		}
	}
	ordered := *c
	ordered.Records = slices.Clone(c.Records)
	ordered.sort()
	r.count(&ordered)
	r.Requests = requestRows(&ordered)
	r.Factors = factorRows(plan, ordered.Records)
	r.Divergences = Divergences(plan, ordered.Records, maxListed)
	r.Controls = controls(&ordered)
	r.Timing = timing(ordered.Records)
	r.Problems = append(disagreements(&ordered), r.Controls.problems()...)
	r.conclude()
	harmless.Each(&r, harmless.Text)
	return r
}

func (r *Report) count(c *Contents) {
	for i := range c.Records {
		record := &c.Records[i]
		r.Outputs += len(record.Outputs)
		switch record.Verdict {
		case Diverged:
			r.Diverged++
		case Errored:
			r.Errors++
			if len(r.Failures) < maxListed {
				failure := Failure{Run: record.Index, Error: "not recorded"}
				if record.Volatile != nil {
					failure.Error = record.Volatile.Error
				}
				r.Failures = append(r.Failures, failure)
			}
		}
	}
	r.UpperBound, r.RuleOfThree = UpperBound(r.Runs, r.Diverged+r.Errors), RuleOfThree(r.Runs)
}

func (r *Report) conclude() {
	switch {
	case r.Diverged > 0 || r.Errors > 0 || len(r.Problems) > 0:
		r.Verdict = "FAIL"
	case r.Missing > 0 || r.Runs == 0:
		r.Verdict = "INCOMPLETE"
	default:
		r.Verdict = "PASS"
	}
	parts := []string{fmt.Sprintf("%s %s", r.Verdict, plural(r.Runs, "run"))}
	if r.Missing > 0 {
		parts[0] += fmt.Sprintf(" of %d", r.Asked)
	}
	parts = append(parts, fmt.Sprintf("%d diverged", r.Diverged))
	if r.Errors > 0 {
		parts = append(parts, fmt.Sprintf("%d without an answer", r.Errors))
	}
	parts = append(parts, fmt.Sprintf("failure rate at most %.2g at 95 %%", r.UpperBound), "worker "+r.Subject.worker())
	if r.Subject.Model != "" {
		parts = append(parts, "model "+named(r.Subject.Model, r.Subject.ModelSHA256))
	}
	r.Line = strings.Join(parts, " · ")
}

func (s Subject) worker() string {
	return named(strings.TrimSpace(s.Worker+" "+s.WorkerVersion), s.WorkerSHA256)
}

// named gives a name with the beginning of its digest, if that is known.
func named(name, sha256 string) string {
	if sha256 == "" {
		return name
	}
	return fmt.Sprintf("%s (sha256 %.12s)", name, sha256)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// disagreements are references that differ between the shards of a merged ledger.
func disagreements(c *Contents) []string {
	var problems []string
	for i := 1; i < len(c.References); i++ {
		a, b := c.References[i-1], c.References[i]
		if a.Request != b.Request {
			continue
		}
		problem := fmt.Sprintf("the shards have different references of request %d", a.Request)
		if difference := Compare(a.Outcome, b.Outcome); difference != nil {
			problem += ": " + difference.String()
		}
		problems = append(problems, problem)
	}
	return problems
}

func requestRows(c *Contents) []RequestRow {
	rows := make([]RequestRow, len(c.Header.Plan.Requests))
	seen := make([]map[string]bool, len(rows))
	for i := range rows {
		rows[i] = RequestRow{Request: i, Prompt: abridge(c.Header.Plan.Requests[i].Prompt)}
		seen[i] = map[string]bool{}
	}
	for _, reference := range c.References {
		seen[reference.Request][reference.Outcome.SHA256()+" "+reference.Outcome.TextSHA256()] = true
	}
	for _, record := range c.Records {
		for _, output := range record.Outputs {
			rows[output.Request].Outputs++
			if output.Difference != nil {
				seen[output.Request][output.SHA256+" "+output.TextSHA256] = true
			}
		}
	}
	for i := range rows {
		rows[i].Distinct = len(seen[i])
	}
	return rows
}

func abridge(prompt string) string {
	const most = 60
	runes := []rune(strings.Join(strings.Fields(prompt), " "))
	if len(runes) <= most {
		return string(runes)
	}
	return string(runes[:most]) + "…"
}

func factorRows(plan *Plan, records []Record) []FactorRow {
	var rows []FactorRow
	for _, factor := range plan.Factors {
		for _, level := range factor.Levels {
			row := FactorRow{Factor: factor.Name, Level: level.Name, Baseline: level.Name == factor.Baseline()}
			for _, record := range records {
				if drawn, applies := record.Levels[factor.Name]; !applies || drawn != level.Name {
					continue
				}
				row.Runs++
				if record.Verdict != Same {
					row.Failed++
				}
			}
			row.UpperBound = UpperBound(row.Runs, row.Failed)
			rows = append(rows, row)
		}
	}
	return rows
}

// Divergences lists at most limit of them, by index of the run. In a run, the drawn request comes first.
func Divergences(plan *Plan, records []Record, limit int) []Divergence {
	var found []Divergence
	for _, record := range records {
		for _, output := range record.Outputs {
			if output.Difference == nil {
				continue
			}
			d := Divergence{Run: record.Index, Role: output.Role, Request: output.Request, Difference: *output.Difference,
				Varied: record.Named(plan.Varied(record.Run))}
			if found = append(found, d); len(found) == limit {
				return found
			}
		}
	}
	return found
}

// String is the divergence in one line.
func (d Divergence) String() string {
	return fmt.Sprintf("run %d, %s (request %d): %s; factors not at their baseline: %s", d.Run, d.Role, d.Request, d.Difference, varied(d.Varied))
}

func varied(factors []string) string {
	if len(factors) == 0 {
		return "none"
	}
	return strings.Join(factors, ", ")
}
