// Package markdown writes a gate's result as a checklist for people.
package markdown

import (
	"fmt"
	"strings"

	"touchstone/reports/harmless"
	"touchstone/reports/verdict"
)

var icons = map[verdict.State]string{
	verdict.Passed: "✅", verdict.Failed: "❌", verdict.NotRun: "⚪", verdict.Inconclusive: "❓", verdict.Unproven: "🟡",
}

// Checklist returns checklist.md: the verdict with its subject, what went wrong, then every row by layer.
func Checklist(result verdict.Result) []byte {
	var page strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&page, format, args...) }

	write("# %s %s %s\n\n", text(result.Gate), text(result.Title), result.Verdict)
	write("**%s**\n\n", text(result.Line))
	write("%s · %s · registry %s (sha256 %.12s) · harness %s · seed %d\n", result.Started.UTC().Format("2006-01-02 15:04:05 UTC"),
		duration(result.Ended.Sub(result.Started).Seconds()), result.RegistryVersion, result.RegistrySHA256,
		text(result.Subject.HarnessVersion), result.Seed)
	if result.Subject.Capabilities != "" {
		write("\nThe subject offers: %s.\n", text(result.Subject.Capabilities))
	}
	if !result.TeethMeasured {
		write("\nTeeth: not measured. No faults were played with exactly these specs, so it is not shown that each row can fail.\n")
	}
	if len(result.Restrictions) > 0 {
		write("\nNot a full run, so it can never be more than INCOMPLETE: %s.\n", text(strings.Join(result.Restrictions, ", ")))
	}
	writeProblems(&page, result)
	writeFailures(&page, result)
	writeTable(&page, result)
	return []byte(page.String())
}

func writeProblems(page *strings.Builder, result verdict.Result) {
	if len(result.Problems) == 0 {
		return
	}
	page.WriteString("\n## Failed outside of the specs\n")
	for _, problem := range result.Problems {
		page.WriteString("\n" + fence(problem))
	}
}

// writeFailures lists each failed or inconclusive spec with what it takes to work on it.
func writeFailures(page *strings.Builder, result verdict.Result) {
	heading := false
	for _, state := range []verdict.State{verdict.Failed, verdict.Inconclusive} {
		for _, row := range result.Rows {
			if row.State != state {
				continue
			}
			if !heading {
				page.WriteString("\n## What to look at first\n")
				heading = true
			}
			fmt.Fprintf(page, "\n### %s %s %s: %s\n", icons[row.State], row.ID, text(row.Title), row.State)
			if row.Waived {
				fmt.Fprintf(page, "\n%s\n", waiverNote(row))
			}
			written := false
			for _, spec := range row.Specs {
				if spec.State == verdict.Failed || spec.State == verdict.Inconclusive {
					writeSpec(page, spec)
					written = true
				}
			}
			if !written {
				fmt.Fprintf(page, "\n%s.\n", text(strings.Join(row.Reasons, "; ")))
			}
		}
	}
}

func writeSpec(page *strings.Builder, spec verdict.Spec) {
	fmt.Fprintf(page, "\n**%s**\n", text(spec.Text))
	failure := spec.Failure
	if failure == nil {
		fmt.Fprintf(page, "\n%s. Run again:\n\n%s", text(spec.Reason), fence(spec.Rerun))
		return
	}
	var sides strings.Builder
	for _, side := range []struct{ label, value string }{
		{"expected", failure.Expected}, {"got", failure.Got}, {"first divergence", failure.Divergence}} {
		if side.value != "" {
			fmt.Fprintf(&sides, "%-17s %s\n", side.label+":", limit(side.value, 400))
		}
	}
	if sides.Len() == 0 {
		sides.WriteString(limit(failure.Message, 1200))
	}
	fmt.Fprintf(page, "\n%s at `%s`\n\n%s\nRun again:\n\n%s", text(spec.Reason), code(failure.Location), fence(sides.String()), fence(spec.Rerun))
}

func writeTable(page *strings.Builder, result verdict.Result) {
	counts := result.Counts
	fmt.Fprintf(page, "\n## All %d requirements\n\n%d passed · %d failed · %d inconclusive · %d not run · %d unproven · %d waived\n",
		counts.Total, counts.Passed, counts.Failed, counts.Inconclusive, counts.NotRun, counts.Unproven, counts.Waived)
	layer := ""
	for _, row := range result.Rows {
		if row.Layer != layer {
			layer = row.Layer
			passed, total := layerCounts(result, layer)
			fmt.Fprintf(page, "\n### %s %d/%d\n\n| | id | requirement | state | observed | teeth | time |\n| --- | --- | --- | --- | --- | --- | ---: |\n", text(layer), passed, total)
		}
		fmt.Fprintf(page, "| %s | %s | %s | %s | %s | %s | %s |\n", icons[row.State], row.ID, text(row.Title), stateCell(row),
			observedCell(row), teethCell(result, row), duration(row.Seconds))
	}
}

func layerCounts(result verdict.Result, layer string) (passed, total int) {
	for _, row := range result.Rows {
		if row.Layer != layer {
			continue
		}
		if total++; row.State == verdict.Passed {
			passed++
		}
	}
	return passed, total
}

func stateCell(row verdict.Row) string {
	cell := string(row.State)
	if row.Level == "SHOULD" {
		cell += " (SHOULD)"
	}
	if partly := row.Partly(); partly != "" {
		cell += " " + text(partly)
	}
	if row.Waived {
		cell += " · " + waiverNote(row)
	}
	return cell
}

func waiverNote(row verdict.Row) string {
	return fmt.Sprintf("waived by %s until %s: %s", text(row.Waiver.Owner), row.Waiver.Expires, text(row.Waiver.Reason))
}

// observedCell tells why a row is not green, or the first things it saw.
func observedCell(row verdict.Row) string {
	if row.State != verdict.Passed {
		return text(short(strings.Join(row.Reasons, "; "), 120))
	}
	first, total := row.Observed(3)
	for i := range first {
		first[i] = short(first[i], 60)
	}
	cell := text(strings.Join(first, " · "))
	if total > 3 {
		cell += fmt.Sprintf(" · and %d more", total-3)
	}
	return cell
}

func teethCell(result verdict.Result, row verdict.Row) string {
	if !result.TeethMeasured {
		return "not measured"
	}
	return fmt.Sprintf("%d/%d faults", len(row.Killed), len(row.Faults))
}

func duration(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.0f ms", seconds*1000)
	case seconds < 60:
		return fmt.Sprintf("%.1f s", seconds)
	default:
		return fmt.Sprintf("%d min %02d s", int(seconds)/60, int(seconds)%60)
	}
}

var escaper = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;",
	"&", "&amp;", "|", `\|`, "#", `\#`, "!", `\!`, "~", `\~`,
	// Addresses that GitHub would make a link of, or a mention.
	"://", "&#58;//", "www.", `www\.`, "WWW.", `WWW\.`, "@", "&#64;<!-- -->")

// Text escapes Markdown, so that a worker's words cannot format, link or break a page or the cell of a table. The result
// is one line.
func Text(value string) string { return escaper.Replace(harmless.Line(value)) }

func text(value string) string { return Text(value) }

func code(value string) string { return strings.ReplaceAll(harmless.Line(value), "`", "'") }

// fence is a code block that its content cannot end.
func fence(content string) string {
	content = harmless.Text(content)
	marks := "```"
	for strings.Contains(content, marks) {
		marks += "`"
	}
	return marks + "text\n" + strings.TrimRight(content, "\n") + "\n" + marks + "\n"
}

// short cuts after n characters, for the cells of a table.
func short(value string, n int) string {
	if runes := []rune(value); len(runes) > n {
		return string(runes[:n]) + "…"
	}
	return value
}

// limit cuts after n characters and says so.
func limit(value string, n int) string {
	runes := []rune(value)
	if len(runes) <= n {
		return value
	}
	return fmt.Sprintf("%s … (%d characters more in report.json)", string(runes[:n]), len(runes)-n)
}
