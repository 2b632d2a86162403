// Package reports turns a run of a gate into a report directory, and reads one back.
//
// A report has three truths, from which everything else in it is computed: ginkgo.json (what ran),
// registry.yaml (what had to run) and run.json (on what, and how), with the content that specs
// recorded under evidence/.
package reports

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/onsi/ginkgo/v2/types"

	"touchstone/reports/attest"
	"touchstone/reports/evidence"
	"touchstone/reports/harmless"
	"touchstone/reports/internal/strict"
	"touchstone/reports/requirement"
	"touchstone/reports/secret"
	"touchstone/reports/verdict"
)

// HarnessVersion is the version of the harness. Reports are verified, and the outcome of faults is
// used, only with the version that made them.
const HarnessVersion = "1.0.0"

// SchemaVersion is the version of report.json and run.json; report.schema.json describes it.
const SchemaVersion = 1

// The truths of a report.
const (
	GinkgoFile   = "ginkgo.json"
	RegistryFile = "registry.yaml"
	RunFile      = "run.json"
	evidenceDir  = evidence.Dir
)

// Report is a run of a gate with everything its files are made from.
type Report struct {
	RegistryYAML []byte
	Registry     *requirement.Registry
	GinkgoJSON   []byte       // the truth about what ran, kept byte for byte
	Ginkgo       types.Report // GinkgoJSON, decoded
	Options      verdict.Options
	Result       verdict.Result
	Evidence     map[string][]byte // by path in the report directory, evidence/<row>/<sha256>.<ext>
	Key          *attest.Key       // signs the attestation; nil leaves it unsigned
}

// runRecord is run.json.
type runRecord struct {
	SchemaVersion int `json:"schemaVersion"`
	verdict.Options
}

// New computes the report of a run from what Ginkgo's ReportAfterSuite received. None of the secrets, whole, is in any of
// its files, nor what the subject's command or URL names as secret.
func New(registryYAML []byte, ginkgo types.Report, options verdict.Options, secrets ...string) (*Report, error) {
	registry, err := requirement.Load(registryYAML)
	if err != nil {
		return nil, err
	}
	hide := func(text string) string { return secret.Values(text, secrets) }
	harmless.Each(&options, hide)
	harmless.Each(&options.Subject, secret.Text)
	options.Rerun = secret.Text(options.Rerun)
	report := &Report{RegistryYAML: registryYAML, Registry: registry, Options: options, Evidence: map[string][]byte{}}
	specs := make(types.SpecReports, len(ginkgo.SpecReports))
	for i, spec := range ginkgo.SpecReports {
		if specs[i], err = report.detachFiles(spec, secrets); err != nil {
			return nil, fmt.Errorf("spec %q: %w", spec.FullText(), err)
		}
	}
	ginkgo.SpecReports = specs
	if len(secrets) > 0 {
		harmless.Each(&ginkgo, hide)
	}
	// The result is computed from the very bytes that are stored, so that anyone can compute it again.
	if report.GinkgoJSON, err = encodeJSON([]types.Report{ginkgo}); err != nil {
		return nil, err
	}
	if report.Ginkgo, err = decodeGinkgo(report.GinkgoJSON); err != nil {
		return nil, err
	}
	report.Result = verdict.Compute(registry, report.Ginkgo, options)
	return report, nil
}

// detachFiles moves the content of a spec's evidence into the report's evidence files.
func (r *Report) detachFiles(spec types.SpecReport, secrets []string) (types.SpecReport, error) {
	entries := make(types.ReportEntries, len(spec.ReportEntries))
	for i, entry := range spec.ReportEntries {
		entries[i] = entry
		if !evidence.IsEvidence(entry) {
			continue
		}
		detached, file, err := evidence.Detach(entry, r.Options.Redacted, secrets)
		if err != nil {
			return spec, err
		}
		entries[i] = detached
		if file == nil {
			continue
		}
		for _, id := range requirement.IDs(spec.Labels()) {
			r.Evidence[evidence.Path(id, *file)] = file.Content
		}
	}
	spec.ReportEntries = entries
	if r.Options.Redacted {
		spec.CapturedGinkgoWriterOutput, spec.CapturedStdOutErr = "", ""
	}
	return spec, nil
}

func decodeGinkgo(data []byte) (types.Report, error) {
	var all []types.Report
	if err := strict.Decode(data, &all); err != nil {
		return types.Report{}, fmt.Errorf("%s is not a Ginkgo report: %w", GinkgoFile, err)
	}
	if len(all) != 1 {
		return types.Report{}, fmt.Errorf("%s holds %d runs, want exactly one", GinkgoFile, len(all))
	}
	return all[0], nil
}

// encodeJSON is indented JSON that ends in a newline and leaves <, > and & as they are.
func encodeJSON(value any) ([]byte, error) {
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return buffer.Bytes(), nil
}
