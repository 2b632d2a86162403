package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The files of a soak's report.
const (
	LedgerFile    = "ledger.jsonl"    // what was recorded, times included
	CanonicalFile = "canonical.jsonl" // its canonical form
	ReportFile    = "report.json"
	MarkdownFile  = "report.md"
	HTMLFile      = "report.html"
	JUnitFile     = "junit.xml"
)

// files renders everything that is computed from a ledger.
func files(c *Contents) (Report, map[string][]byte, error) {
	report := NewReport(c)
	encoded, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return report, nil, fmt.Errorf("encode the report: %w", err)
	}
	page, err := renderHTML(&report, c)
	if err != nil {
		return report, nil, err
	}
	junit, err := renderJUnit(&report)
	if err != nil {
		return report, nil, err
	}
	return report, map[string][]byte{
		CanonicalFile: c.Canonical(), ReportFile: append(encoded, '\n'), MarkdownFile: renderMarkdown(&report), HTMLFile: page, JUnitFile: junit,
	}, nil
}

// WriteReport computes the report of the ledger in folder dir and writes it beside the ledger.
func WriteReport(dir string) (Report, error) {
	contents, err := ReadLedger(filepath.Join(dir, LedgerFile))
	if err != nil {
		return Report{}, err
	}
	report, rendered, err := files(&contents)
	if err != nil {
		return report, err
	}
	for name, text := range rendered {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			return report, err
		}
	}
	return report, nil
}

// WriteMerged writes a merged ledger into folder dir, which must not hold one, and its report beside it.
func WriteMerged(dir string, merged Contents) (Report, error) {
	path := filepath.Join(dir, LedgerFile)
	if _, err := os.Stat(path); err == nil {
		return Report{}, fmt.Errorf("%s exists: give another folder", path)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Report{}, err
	}
	if err := os.WriteFile(path, merged.encode(), 0o644); err != nil {
		return Report{}, err
	}
	return WriteReport(dir)
}

// Verify computes the report in folder dir again: every run is drawn again from the plan, judged again by the outputs that
// the ledger holds, and every file rendered again. It returns what differs.
func Verify(dir string) (report Report, differences []string, err error) {
	contents, err := ReadLedger(filepath.Join(dir, LedgerFile))
	if err != nil {
		return report, nil, err
	}
	differences = contents.Check()
	report, rendered, err := files(&contents)
	if err != nil {
		return report, nil, err
	}
	for _, name := range []string{CanonicalFile, ReportFile, MarkdownFile, HTMLFile, JUnitFile} {
		written, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, os.ErrNotExist):
			differences = append(differences, name+" is missing")
		case err != nil:
			return report, nil, err
		case !bytes.Equal(written, rendered[name]):
			differences = append(differences, name+" is not what the ledger gives")
		}
	}
	return report, differences, nil
}
