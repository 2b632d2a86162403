package reports

import (
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
)

// clockTolerance is how far a spec may lie outside of its run's times: a clock may be set while it runs.
const clockTolerance = time.Second

// futureTolerance is how far the clock of the machine that ran may be ahead of the verifier's.
const futureTolerance = 5 * time.Minute

// inconsistencies finds what cannot be in the report of one real run, whatever its verdict. now is the verifier's clock.
func inconsistencies(whole *Report, now time.Time) []string {
	report := whole.Ginkgo
	var found []string
	differ := func(format string, args ...any) {
		found = append(found, GinkgoFile+": "+fmt.Sprintf(format, args...))
	}
	if report.EndTime.Before(report.StartTime) {
		differ("the run ended at %s, before it began at %s", clock(report.EndTime), clock(report.StartTime))
	}
	if report.EndTime.After(now.Add(futureTolerance)) {
		differ("the run ended at %s, which is still to come: it is %s", clock(report.EndTime), clock(now))
	}
	specs := report.SpecReports.WithLeafNodeType(types.NodeTypeIt)
	stats := report.PreRunStats
	pending := specs.CountWithState(types.SpecStatePending)
	filtered := report.SuiteHasProgrammaticFocus || len(verdict.Filters(report.SuiteConfig)) > 0
	if stats.SpecsThatWillRun+pending < stats.TotalSpecs && !filtered {
		differ("%d of %d specs were selected to run, but no filter, focus or pending spec says why", stats.SpecsThatWillRun, stats.TotalSpecs)
	}
	if len(specs) > stats.TotalSpecs || len(specs) < stats.TotalSpecs && report.SuiteSucceeded {
		differ("it has %d specs, but the suite counted %d before it ran", len(specs), stats.TotalSpecs)
	}
	if failed := report.SpecReports.CountWithState(types.SpecStateFailureStates); failed > 0 && report.SuiteSucceeded {
		differ("it says the suite succeeded, though %d of its nodes failed", failed)
	}
	for _, spec := range specs {
		if spec.State == types.SpecStatePassed && spec.NumAttempts == 0 && !report.SuiteConfig.DryRun {
			differ("spec %q passed without having been run: that is a dry run", spec.FullText())
		}
		ran := spec.NumAttempts > 0
		if ran && (spec.StartTime.Before(report.StartTime.Add(-clockTolerance)) || spec.EndTime.After(report.EndTime.Add(clockTolerance))) {
			differ("spec %q ran from %s to %s, outside of the run (%s to %s)", spec.FullText(), clock(spec.StartTime), clock(spec.EndTime),
				clock(report.StartTime), clock(report.EndTime))
		}
		if ran && spec.EndTime.Before(spec.StartTime) {
			differ("spec %q ended at %s, before it began at %s", spec.FullText(), clock(spec.EndTime), clock(spec.StartTime))
		}
		if ids := requirement.IDs(spec.Labels()); len(ids) != 1 {
			differ("spec %q names %d requirements, want one", spec.FullText(), len(ids))
		} else if _, known := whole.Registry.Row(ids[0]); !known {
			differ("spec %q names the requirement %s, which the registry does not have", spec.FullText(), ids[0])
		}
		found = append(found, beyondBounds(spec)...)
	}
	return append(found, unplanned(specs, whole.Options)...)
}

// beyondBounds lists the kernel errors that a spec passed with though they are above their bounds.
func beyondBounds(spec types.SpecReport) []string {
	if spec.State != types.SpecStatePassed {
		return nil
	}
	entries, err := evidence.FromReport(spec.ReportEntries)
	if err != nil {
		return []string{fmt.Sprintf("%s: spec %q: %v", GinkgoFile, spec.FullText(), err)}
	}
	var found []string
	for _, entry := range entries {
		if entry.BeyondBound() {
			found = append(found, fmt.Sprintf("%s: spec %q passed with an error beyond its bound: %s", GinkgoFile, spec.FullText(), entry))
		}
	}
	return found
}

func clock(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05.000Z") }

// unplanned compares the specs of the report with the tree that was recorded before they ran. Specs
// that vanished are no inconsistency: their rows are INCONCLUSIVE.
func unplanned(specs types.SpecReports, options verdict.Options) []string {
	planned := map[verdict.PlannedSpec]int{}
	for _, spec := range options.Plan {
		planned[spec]++
	}
	var found []string
	for _, spec := range specs {
		for _, id := range requirement.IDs(spec.Labels()) {
			key := verdict.PlannedSpec{Row: id, Text: spec.FullText()}
			if planned[key]--; planned[key] < 0 {
				found = append(found, fmt.Sprintf("%s: spec %q of %s is not in the tree that %s recorded", GinkgoFile, key.Text, id, RunFile))
			}
		}
	}
	return found
}
