package soak

import (
	"bytes"
	"fmt"
	"strings"

	"touchstone/reports/markdown"
)

func renderMarkdown(r *Report) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Determinism soak\n\n**%s**\n\n", markdown.Text(r.Line))
	fmt.Fprintf(&b, "Master seed %d, plan sha256 `%.12s`", r.MasterSeed, r.PlanSHA256)
	if r.Shard != "" && r.Shard != "0/1" {
		fmt.Fprintf(&b, ", shard %s", r.Shard)
	}
	fmt.Fprintf(&b, ".\n\n%s\n", r.claim())
	for _, problem := range r.Problems {
		fmt.Fprintf(&b, "\n- PROBLEM: %s", markdown.Text(problem))
	}
	if len(r.Divergences) > 0 {
		fmt.Fprintf(&b, "\n## First divergence\n\n%s\n\nShrink it with `gate minimise`. All that are listed:\n\n", markdown.Text(r.Divergences[0].String()))
		b.WriteString("| run | role | request | difference | factors not at their baseline |\n| ---: | --- | ---: | --- | --- |\n")
		for _, d := range r.Divergences {
			fmt.Fprintf(&b, "| %d | %s | %d | %s | %s |\n", d.Run, d.Role, d.Request, markdown.Text(d.Difference.String()), varied(d.Varied))
		}
	}
	if len(r.Failures) > 0 {
		b.WriteString("\n## Runs without an answer\n\n| run | error |\n| ---: | --- |\n")
		for _, failure := range r.Failures {
			fmt.Fprintf(&b, "| %d | %s |\n", failure.Run, markdown.Text(failure.Error))
		}
	}
	b.WriteString("\n## Factors\n\n| factor | level | runs | failed | failure rate at most (95 %) |\n| --- | --- | ---: | ---: | ---: |\n")
	for _, row := range r.Factors {
		level := row.Level
		if row.Baseline {
			level += " (baseline)"
		}
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %.2g |\n", row.Factor, level, row.Runs, row.Failed, row.UpperBound)
	}
	b.WriteString("\n## Requests\n\n| request | prompt | outputs compared | distinct |\n| ---: | --- | ---: | ---: |\n")
	for _, row := range r.Requests {
		fmt.Fprintf(&b, "| %d | %s | %d | %d |\n", row.Request, markdown.Text(row.Prompt), row.Outputs, row.Distinct)
	}
	fmt.Fprintf(&b, "\n## Negative controls\n\n%s\n", strings.Join(r.Controls.sentences(), "\n"))
	fmt.Fprintf(&b, "\n## Time and memory\n\nRuns took %.1f ms (median), %.1f ms (95 %%), %.1f ms (longest); %.1f runs a second while running.\n", r.Timing.MedianMillis, r.Timing.P95Millis, r.Timing.MaxMillis, r.Timing.RunsPerSecond)
	if len(r.Timing.Memory) > 0 {
		b.WriteString("\nResident memory, medians of the second and the last quarter of each process's samples:\n\n| process | samples | early | late | growth | most |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
		for _, row := range r.Timing.Memory {
			fmt.Fprintf(&b, "| %s | %d | %s | %s | %+.1f %% | %s |\n", row.Process, row.Samples, mebibytes(row.Early), mebibytes(row.Late), 100*row.Growth, mebibytes(row.Max))
		}
	}
	return b.Bytes()
}

// claim says what the runs prove.
func (r *Report) claim() string {
	text := fmt.Sprintf("%s done, %s compared with the reference of their request; %d diverged, %d without an answer.",
		plural(r.Runs, "run"), plural(r.Outputs, "output"), r.Diverged, r.Errors)
	if r.Missing > 0 {
		text += fmt.Sprintf(" %s of %d asked for were not done.", plural(r.Missing, "run"), r.Asked)
	}
	if r.Diverged+r.Errors == 0 {
		return text + fmt.Sprintf(" If runs fail independently, the failure rate of runs drawn like these is at most %.5g at 95 %% confidence (exact: 1 - 0.05^(1/n); rule of three, 3/n: %.5g).", r.UpperBound, r.RuleOfThree)
	}
	return text + fmt.Sprintf(" The failure rate of runs drawn like these is at most %.3g at 95 %% confidence (exact, Clopper-Pearson).", r.UpperBound)
}

func (r ControlResult) sentences() []string {
	seeds := fmt.Sprintf("- With another seed, %d of %s changed their output.", r.Changed, plural(r.Seeds, "request"))
	if r.Seeds == 0 {
		seeds = "- No request depends on its seed: whether a changed seed shows was not tried."
	}
	flips := fmt.Sprintf("- One token flipped in one run of %d before the comparison: run and step named correctly in %d of %s.", r.FlipOneIn, r.Named, plural(r.Flips, "trial"))
	if r.Flips == 0 {
		flips = "- No run could be used to try whether a flipped token is seen."
	}
	return []string{seeds, flips}
}

func mebibytes(bytes uint64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
