package verdict

import (
	"fmt"
	"slices"
	"strings"
)

// Subject says what was tested with what. A verdict is never printed without it.
type Subject struct {
	Worker         string `json:"worker"` // name
	WorkerVersion  string `json:"workerVersion"`
	WorkerSHA256   string `json:"workerSha256"` // of the executable; empty for a worker reached by URL
	Device         string `json:"device"`       // "cpu", "NVIDIA H200", ...
	Simulated      bool   `json:"simulated"`    // the CUDA layer ran on a simulated device
	Model          string `json:"model"`
	ModelSHA256    string `json:"modelSha256"` // of the model file; empty when the harness cannot read it
	HarnessVersion string `json:"harnessVersion"`
	Dialect        string `json:"dialect"`      // of the worker's HTTP interface: "touchstone" or "openai"
	Capabilities   string `json:"capabilities"` // what the subject offers, as it was found: "http, restart, logs"
}

func (s Subject) parts() []string {
	worker := "worker " + orUnknown(s.Worker)
	if s.WorkerVersion != "" {
		worker += " " + s.WorkerVersion
	}
	worker += digestNote(s.WorkerSHA256)
	if s.overOpenAI() {
		worker += " over the OpenAI API"
	}
	parts := []string{
		worker,
		"device " + orUnknown(s.Device),
		"model " + orUnknown(s.Model) + digestNote(s.ModelSHA256),
	}
	if s.Simulated {
		parts = append(parts, "CUDA layer on a simulated device")
	}
	return parts
}

// overOpenAI tells whether the worker was asked in the OpenAI dialect, by other specs than in the touchstone one.
func (s Subject) overOpenAI() bool { return s.Dialect == "openai" }

func orUnknown(name string) string {
	if name == "" {
		return "unknown"
	}
	return name
}

// digestNote shortens a digest to 12 digits; the report holds it in full.
func digestNote(digest string) string {
	if digest == "" {
		return ""
	}
	return fmt.Sprintf(" (sha256 %.12s)", digest)
}

// line is the verdict with its subject and, where it is not a plain PASS, the reason.
func (r *Result) line() string {
	parts := []string{fmt.Sprintf("%s %d/%d", r.Verdict, r.Counts.Passed, r.Counts.Total)}
	parts = append(parts, r.Subject.parts()...)
	for _, state := range []State{Failed, Inconclusive, Unproven} {
		if ids := r.idsIn(state); len(ids) > 0 {
			parts = append(parts, fmt.Sprintf("%d %s: %s", len(ids), strings.ToLower(string(state)), shorten(ids)))
		}
	}
	parts = append(parts, r.notRunParts()...)
	if waived := r.waivedIDs(); len(waived) > 0 {
		parts = append(parts, fmt.Sprintf("%d waived: %s", len(waived), shorten(waived)))
	}
	if len(r.Problems) > 0 {
		parts = append(parts, oneLine(r.Problems[0]))
	}
	if len(r.Restrictions) > 0 {
		parts = append(parts, "not a full run: "+strings.Join(r.Restrictions, ", "))
	}
	return strings.Join(parts, " · ")
}

// notRunParts counts the rows that did not run by their first reason, in the order of the registry.
func (r *Result) notRunParts() []string {
	var reasons []string
	count := map[string]int{}
	for _, row := range r.Rows {
		if row.State != NotRun {
			continue
		}
		reason := "no reason given"
		if len(row.Reasons) > 0 {
			reason = oneLine(row.Reasons[0])
		}
		if count[reason]++; count[reason] == 1 {
			reasons = append(reasons, reason)
		}
	}
	var parts []string
	for _, reason := range reasons {
		parts = append(parts, fmt.Sprintf("%d not run: %s", count[reason], reason))
	}
	if len(parts) > 3 {
		parts = append(parts[:3], fmt.Sprintf("and %d more reasons", len(parts)-3))
	}
	return parts
}

func (r *Result) idsIn(state State) []string {
	return r.ids(func(row Row) bool { return row.State == state && !row.Waived })
}

func (r *Result) waivedIDs() []string {
	return r.ids(func(row Row) bool { return row.Waived })
}

func (r *Result) ids(match func(Row) bool) []string {
	var ids []string
	for _, row := range r.Rows {
		if match(row) {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

// shorten lists at most four ids.
func shorten(ids []string) string {
	if len(ids) > 4 {
		ids = append(slices.Clone(ids[:4]), "…")
	}
	return strings.Join(ids, ", ")
}

// oneLine is the first line of text, without the line's surrounding space.
func oneLine(text string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(first)
}
