package verdict

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"touchstone/reports/evidence"
	"touchstone/reports/harmless"
	"touchstone/reports/requirement"
	"touchstone/reports/secret"
)

// Compute joins the registry with the report of one run. The rules:
//
//   - Several specs on a row: the worst state decides. A spec of the plan that the report lacks is INCONCLUSIVE.
//   - A part that a spec recorded as not run takes nothing from what passed; the row and the line say that it is missing.
//   - FAIL if a MUST row is FAILED or INCONCLUSIVE, anything outside of the specs failed, or a spec ran that proves no row.
//   - Else INCOMPLETE if a MUST row is NOT RUN, UNPROVEN or waived, or the run was filtered, focused,
//     dry, retried, repeated or of requests that a given seed let foresee.
//   - Else PASS.
//   - The exit code is 1 for FAIL, for INCOMPLETE with RequireComplete, and when no row ran at all; else 0.
//
// Every text in the result is harmless to show; see package harmless.
func Compute(registry *requirement.Registry, report types.Report, options Options) Result {
	result := Result{
		Gate: registry.Gate, Title: registry.Title,
		RegistryVersion: registry.Version, RegistrySHA256: registry.SHA256,
		Subject: options.Subject.cleaned(),
		Started: report.StartTime, Ended: report.EndTime, Seed: report.SuiteConfig.RandomSeed,
		Restrictions:  restrictions(report, options),
		Problems:      append(problems(report, options), strays(registry, report)...),
		SourcesSHA256: options.SourcesSHA256,
		TeethMeasured: options.Teeth.apply(options),
		Rows:          []Row{},
	}
	specs := specsByRow(report, options)
	for _, requirement := range registry.Rows {
		row := newRow(requirement, specs[requirement.ID])
		if result.TeethMeasured {
			row.applyTeeth(options.Teeth.Rows[row.ID])
		}
		row.applyWaiver(report)
		result.Rows = append(result.Rows, row)
		result.Counts.add(row)
	}
	result.Verdict = result.decide()
	result.ExitCode = result.exitCode(options.RequireComplete)
	result.Line = result.line()
	harmless.Each(&result, harmless.Text)
	return result
}

func (r *Result) decide() Verdict {
	verdict := Pass
	for _, row := range r.Rows {
		if row.Level != requirement.Must {
			continue
		}
		switch {
		case row.Waived:
			verdict = Incomplete
		case row.State == Failed || row.State == Inconclusive:
			return Fail
		case row.State != Passed:
			verdict = Incomplete
		}
	}
	switch {
	case len(r.Problems) > 0:
		return Fail
	case len(r.Restrictions) > 0:
		return Incomplete
	}
	return verdict
}

func (r *Result) exitCode(requireComplete bool) int {
	nothingRan := r.Counts.NotRun == r.Counts.Total
	if r.Verdict == Pass || r.Verdict == Incomplete && !requireComplete && !nothingRan {
		return 0
	}
	return 1
}

func (c *Counts) add(row Row) {
	c.Total++
	switch row.State {
	case Passed:
		c.Passed++
	case Failed:
		c.Failed++
	case NotRun:
		c.NotRun++
	case Inconclusive:
		c.Inconclusive++
	case Unproven:
		c.Unproven++
	}
	if row.Waived {
		c.Waived++
	}
}

// specsByRow returns the specs of the report and, as INCONCLUSIVE, those of the plan that it lacks.
func specsByRow(report types.Report, options Options) map[string][]Spec {
	specs := map[string][]Spec{}
	missing := map[PlannedSpec]int{}
	for _, planned := range options.Plan {
		missing[planned]++
	}
	for _, raw := range report.SpecReports.WithLeafNodeType(types.NodeTypeIt) {
		for _, id := range requirement.IDs(raw.Labels()) {
			specs[id] = append(specs[id], newSpec(raw, report, options))
			missing[PlannedSpec{Row: id, Text: raw.FullText()}]--
		}
	}
	for _, planned := range options.Plan {
		if missing[planned] <= 0 {
			continue
		}
		missing[planned]--
		specs[planned.Row] = append(specs[planned.Row], Spec{
			Text: planned.Text, State: Inconclusive, Reason: "the spec vanished: it is in the tree but not in the report",
			Evidence: []evidence.Entry{}, Rerun: options.Again(planned.Text, ""),
		})
	}
	return specs
}

func newSpec(raw types.SpecReport, report types.Report, options Options) Spec {
	spec := Spec{
		Text: raw.FullText(), Location: location(raw.LeafNodeLocation), Seconds: raw.RunTime.Seconds(),
		Process: raw.ParallelProcess, Rerun: options.Again(raw.FullText(), ""),
	}
	entries, err := evidence.FromReport(raw.ReportEntries)
	spec.Evidence = append([]evidence.Entry{}, entries...)
	seen := 0
	beyond := ""
	for i, entry := range spec.Evidence {
		spec.Evidence[i].File = entry.File.WithoutContent()
		if entry.Kind != evidence.KindNotRun {
			seen++
		}
		if entry.BeyondBound() {
			beyond = entry.String()
		}
	}
	switch {
	case raw.Failed():
		spec.State, spec.Failure = Failed, newFailure(raw)
		spec.Reason = spec.Failure.How + ": " + spec.Failure.brief()
		spec.Rerun = options.Again(raw.FullText(), spec.Failure.oneCase)
	case raw.State == types.SpecStatePassed && report.SuiteConfig.DryRun:
		spec.State, spec.Reason = NotRun, "dry run: nothing was executed"
	case raw.State == types.SpecStatePassed && err != nil:
		spec.State, spec.Reason = Inconclusive, "its evidence cannot be read: "+err.Error()
	case raw.State == types.SpecStatePassed && len(entries) == 0:
		spec.State, spec.Reason = Inconclusive, "passed without observing anything"
	case raw.State == types.SpecStatePassed && beyond != "":
		spec.State, spec.Reason = Inconclusive, "passed with an error beyond its bound: "+beyond
	case raw.State == types.SpecStatePassed && seen == 0:
		spec.State, spec.Reason, spec.partsOnly = NotRun, entries[0].Reason, true
	case raw.State == types.SpecStatePassed:
		spec.State = Passed
	case raw.State == types.SpecStateSkipped || raw.State == types.SpecStatePending:
		spec.State, spec.Reason = NotRun, skipReason(raw, report)
	default:
		spec.State, spec.Reason = Inconclusive, "ended in the state "+raw.State.String()
	}
	return spec
}

func skipReason(raw types.SpecReport, report types.Report) string {
	switch {
	case raw.State == types.SpecStatePending:
		return "pending: the spec is switched off in the code"
	case raw.Failure.Message != "":
		return raw.Failure.Message
	case len(Filters(report.SuiteConfig)) > 0:
		return "not selected by " + strings.Join(Filters(report.SuiteConfig), " ")
	case report.SuiteHasProgrammaticFocus:
		return "not selected: other specs are focused in the code"
	default:
		return "skipped without a reason"
	}
}

func newRow(row requirement.Row, specs []Spec) Row {
	result := Row{
		ID: row.ID, Layer: row.Layer, Title: row.Title, Level: row.Level, Proof: row.Proof,
		Faults: slices.Clone(row.Faults), Killed: []string{}, Reasons: []string{}, Specs: append([]Spec{}, specs...),
		State: Passed,
	}
	if row.Waiver != nil {
		waiver := *row.Waiver
		result.Waiver = &waiver
	}
	result.Parts = partsOf(specs)
	if len(specs) == 0 {
		result.State, result.Reasons = Inconclusive, []string{"the row vanished: the report has no spec for it"}
	}
	// Parallel processes finish in any order; the report does not depend on it.
	slices.SortStableFunc(result.Specs, func(a, b Spec) int { return strings.Compare(a.Text, b.Text) })
	for _, spec := range result.Specs {
		result.Seconds += spec.Seconds
		left := spec.partsOnly && result.Parts.Passed > 0 // it takes nothing from what passed
		if !left && spec.State.badness() > result.State.badness() {
			result.State = spec.State
		}
	}
	for _, spec := range result.Specs {
		if spec.State == result.State && spec.Reason != "" && !slices.Contains(result.Reasons, spec.Reason) {
			result.Reasons = append(result.Reasons, spec.Reason)
		}
	}
	return result
}

// partsOf counts what passed and what is missing. A part that a spec recorded as not run counts beside the spec itself, or
// instead of it where nothing else of it ran.
func partsOf(specs []Spec) Parts {
	parts := Parts{Missing: []Missing{}}
	miss := func(reason string) {
		at := slices.IndexFunc(parts.Missing, func(m Missing) bool { return m.Reason == reason })
		if at < 0 {
			at = len(parts.Missing)
			parts.Missing = append(parts.Missing, Missing{Reason: reason})
		}
		parts.Missing[at].Parts++
	}
	for _, spec := range specs {
		if !spec.partsOnly {
			parts.Total++
		}
		if spec.State == Passed {
			parts.Passed++
		}
		for _, entry := range spec.Evidence {
			if entry.Kind == evidence.KindNotRun {
				parts.Total++
				miss(entry.Reason)
			}
		}
	}
	slices.SortFunc(parts.Missing, func(a, b Missing) int { return strings.Compare(a.Reason, b.Reason) })
	return parts
}

func (r *Row) applyWaiver(report types.Report) {
	switch {
	case r.Waiver == nil:
	case r.State == Passed || r.State == Unproven:
		r.State = Failed
		r.Reasons = []string{"the waiver is out of date: the row passes; remove the waiver from the registry"}
	case r.Waiver.Holds(report.EndTime):
		r.Waived = true
	default:
		r.Reasons = append(r.Reasons, "its waiver expired on "+r.Waiver.Expires)
	}
}

// restrictions says why a run is not a full, single run.
func restrictions(report types.Report, options Options) []string {
	config := report.SuiteConfig
	found := append([]string{}, Filters(config)...)
	add := func(condition bool, text string) {
		if condition && !slices.Contains(found, text) {
			found = append(found, text)
		}
	}
	add(report.SuiteHasProgrammaticFocus, "focused in the code")
	add(config.DryRun, "dry run")
	add(config.FlakeAttempts > 1, fmt.Sprintf("--flake-attempts=%d", config.FlakeAttempts))
	add(options.Case != "", "only the case GATE_CASE="+options.Case)
	add(options.GivenSeed != "", "requests that could be foreseen from GATE_SEED="+options.GivenSeed)
	add(options.Repeated != "", "repeated with "+options.Repeated)
	for _, spec := range report.SpecReports.WithLeafNodeType(types.NodeTypeIt) {
		add(spec.MaxFlakeAttempts > 1, "specs with FlakeAttempts")
		add(spec.NumAttempts > 1, "specs run more than once")
	}
	if report.SuiteSucceeded {
		for _, reason := range report.SpecialSuiteFailureReasons {
			add(true, oneLine(reason))
		}
	}
	return found
}

// Filters lists the flags that select specs, as they were given.
func Filters(config types.SuiteConfig) []string {
	var flags []string
	for _, list := range []struct {
		flag   string
		values []string
	}{{"--focus", config.FocusStrings}, {"--skip", config.SkipStrings}, {"--focus-file", config.FocusFiles}, {"--skip-file", config.SkipFiles}} {
		for _, value := range list.values {
			flags = append(flags, fmt.Sprintf("%s=%s", list.flag, value))
		}
	}
	if config.LabelFilter != "" {
		flags = append(flags, "--label-filter="+config.LabelFilter)
	}
	if config.SemVerFilter != "" {
		flags = append(flags, "--sem-ver-filter="+config.SemVerFilter)
	}
	return flags
}

// problems lists what failed outside of the specs.
func problems(report types.Report, options Options) []string {
	found := []string{}
	for _, node := range report.SpecReports {
		if !node.LeafNodeType.Is(types.NodeTypeIt) && node.Failed() {
			message := strings.TrimSpace(node.Failure.Message)
			problem := fmt.Sprintf("%s %s: %s (%s)", node.LeafNodeType, node.State, essence(message), location(node.Failure.Location))
			if message != essence(message) {
				problem += "\n" + message
			}
			found = append(found, problem)
		}
	}
	if options.SubjectProblem != "" {
		found = append(found, "it is not known what was tested: "+options.SubjectProblem)
	}
	if options.FailedLate {
		found = append(found, "an assertion failed after the last spec had ended: a goroutine outlived its spec")
	}
	if report.SuiteSucceeded {
		return found
	}
	found = append(found, report.SpecialSuiteFailureReasons...)
	if len(found) == 0 && report.SpecReports.CountWithState(types.SpecStateFailureStates) == 0 {
		found = append(found, "the suite failed, but no spec says why")
	}
	return found
}

// strays lists the specs of a report that prove no row of the registry, or more than one: none is dropped in silence.
func strays(registry *requirement.Registry, report types.Report) []string {
	var found []string
	for _, spec := range report.SpecReports.WithLeafNodeType(types.NodeTypeIt) {
		ids := requirement.IDs(spec.Labels())
		switch {
		case len(ids) == 0:
			found = append(found, fmt.Sprintf("spec %q names no requirement", spec.FullText()))
		case len(ids) > 1:
			found = append(found, fmt.Sprintf("spec %q names several requirements: %s", spec.FullText(), strings.Join(ids, ", ")))
		default:
			if _, known := registry.Row(ids[0]); !known {
				found = append(found, fmt.Sprintf("spec %q names the requirement %s, which the registry does not have", spec.FullText(), ids[0]))
			}
		}
	}
	return found
}

// location is a code location without the folders of the machine it was built on.
func location(at types.CodeLocation) string {
	if at.FileName == "" {
		return ""
	}
	name := at.FileName
	for _, root := range []string{"/gates/", "/suites/", "/fixtures/", "/reports/"} {
		if i := strings.LastIndex(name, root); i >= 0 {
			name = name[i+1:]
			break
		}
	}
	return fmt.Sprintf("%s:%d", name, at.LineNumber)
}

// focusPlace is where Options.Rerun takes the regular expression of a spec.
const focusPlace = "{focus}"

// Again is the command that runs one spec again, of it only one case if that is not empty. Ginkgo matches the focus with the
// suite's description and the spec's text behind it, so that only the end can be anchored.
func (o Options) Again(text, oneCase string) string {
	command := strings.ReplaceAll(o.Rerun, focusPlace, ShellQuote(regexp.QuoteMeta(text)+"$"))
	if oneCase != "" {
		command = "GATE_CASE=" + ShellQuote(oneCase) + " " + command
	}
	return secret.Text(command)
}

// plainWord matches what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]+$`)

// ShellQuote is a word as a POSIX shell takes it for exactly text.
func ShellQuote(text string) string {
	if plainWord.MatchString(text) {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
