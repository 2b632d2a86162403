package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"touchstone/reports/attest"
	"touchstone/reports/evidence"
	"touchstone/reports/harmless"
	"touchstone/reports/internal/strict"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
)

// VerifyOptions is what the verifier knows that the report does not say about itself.
type VerifyOptions struct {
	Gates        map[string]Known // what this harness knows of its gates, by name
	Key          *attest.Key      // who must have signed; nil accepts unsigned reports, and no others
	WorkerSHA256 string           // of the worker that must have been tested; empty accepts any
	ModelSHA256  string           // of the model that must have been used; empty accepts any
	NotBefore    time.Time        // the run must not have started earlier; zero accepts any
	Now          time.Time        // the verifier's clock, which no run may be ahead of; zero is the system's
}

// Known is what a harness knows of one of its gates, and what a report of that gate has to agree with.
type Known struct {
	Registry      []byte         // the YAML of the registry
	Plans         verdict.Plans  // its trees of specs; nil where they are not known, as for a registry that a user gave
	SourcesSHA256 string         // as verdict.SourcesDigest gives it; empty accepts any
	Teeth         *verdict.Teeth // the only outcome of faults that a report may count; nil accepts none
}

// Verification is the outcome of verifying a report.
type Verification struct {
	Report      *Report  // computed again from the truths; nil when they could not be read
	Signed      bool     // by the key that was given
	Differences []string // what does not agree, each with its file; empty when the report is accepted
}

func (v *Verification) differ(format string, args ...any) {
	v.Differences = append(v.Differences, fmt.Sprintf(format, args...))
}

// Verify computes the report in dir again from its truths (ginkgo.json, evidence/, registry.yaml and
// run.json) and compares everything. An unsigned report that is accepted agrees with itself; only a
// signature says who made it.
func Verify(dir string, options VerifyOptions) (*Verification, error) {
	files, err := readFiles(dir)
	if err != nil {
		return nil, err
	}
	verification := &Verification{}
	report, err := load(files)
	if err != nil {
		verification.differ("%v", err)
		return verification.harmless(), nil
	}
	if options.Now.IsZero() {
		options.Now = time.Now()
	}
	verification.Report = report
	verification.checkGate(options.Gates)
	verification.checkExpectations(options)
	verification.Differences = append(verification.Differences, inconsistencies(report, options.Now)...)
	verification.checkEvidence()
	verification.checkAttestation(files, options.Key)
	verification.checkDerived(files)
	return verification.harmless(), nil
}

// harmless is the verification without what a doctored report could do to a terminal.
func (v *Verification) harmless() *Verification {
	harmless.Each(&v.Differences, harmless.Line)
	return v
}

// readFiles returns every file under dir by its slash-separated path.
func readFiles(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if !entry.Type().IsRegular() {
			return fmt.Errorf("%s is not a plain file", name)
		}
		content, err := os.ReadFile(path)
		files[filepath.ToSlash(name)] = content
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w", dir, err)
	}
	return files, nil
}

// Read reads the truths of the report in dir and computes it again.
func Read(dir string) (*Report, error) {
	files, err := readFiles(dir)
	if err != nil {
		return nil, err
	}
	report, err := load(files)
	if err != nil {
		return nil, fmt.Errorf("read report %s: %w", dir, err)
	}
	return report, nil
}

func load(files map[string][]byte) (*Report, error) {
	var missing []string
	for _, name := range []string{GinkgoFile, RegistryFile, RunFile, ReportFile, ChecklistFile, JUnitFile, HTMLFile,
		AttestationFile, ManifestFile} {
		if _, found := files[name]; !found {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("not a whole report: %s is missing", strings.Join(missing, ", "))
	}
	run, err := decodeRun(files[RunFile])
	if err != nil {
		return nil, err
	}
	registry, err := requirement.Load(files[RegistryFile])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", RegistryFile, err)
	}
	report := &Report{RegistryYAML: files[RegistryFile], Registry: registry, GinkgoJSON: files[GinkgoFile], Options: run.Options,
		Evidence: map[string][]byte{}}
	if report.Ginkgo, err = decodeGinkgo(report.GinkgoJSON); err != nil {
		return nil, err
	}
	for name, content := range files {
		if strings.HasPrefix(name, evidenceDir+"/") {
			report.Evidence[name] = content
		}
	}
	report.Result = verdict.Compute(registry, report.Ginkgo, report.Options)
	return report, nil
}

func decodeRun(data []byte) (runRecord, error) {
	var version struct {
		SchemaVersion int             `json:"schemaVersion"`
		Subject       verdict.Subject `json:"subject"`
	}
	if err := strict.Check(data); err != nil {
		return runRecord{}, fmt.Errorf("%s: %w", RunFile, err)
	}
	if err := json.Unmarshal(data, &version); err != nil {
		return runRecord{}, fmt.Errorf("%s: %w", RunFile, err)
	}
	if version.SchemaVersion != SchemaVersion || version.Subject.HarnessVersion != HarnessVersion {
		return runRecord{}, fmt.Errorf("%s: the report was made by harness %q (schema %d), this is harness %q (schema %d): verify it with the version that made it",
			RunFile, version.Subject.HarnessVersion, version.SchemaVersion, HarnessVersion, SchemaVersion)
	}
	var run runRecord
	if err := strict.Decode(data, &run); err != nil {
		return runRecord{}, fmt.Errorf("%s: %w", RunFile, err)
	}
	return run, nil
}

// checkGate compares the report with what this harness knows of its gate.
func (v *Verification) checkGate(gates map[string]Known) {
	recorded, options := v.Report.Registry, v.Report.Options
	known, found := gates[recorded.Gate]
	if !found {
		v.differ("%s: this harness has no gate %q to compare it with", RegistryFile, recorded.Gate)
		return
	}
	if digest := evidence.Digest(known.Registry); digest != recorded.SHA256 {
		v.differ("%s: it is not the registry of this harness: sha256 %.12s, want %.12s", RegistryFile, recorded.SHA256, digest)
	}
	if known.Plans != nil {
		if err := known.Plans.Compare(options.Tree, options.Plan); err != nil {
			for line := range strings.Lines(err.Error()) {
				v.differ("%s: %s", RunFile, strings.TrimSpace(line))
			}
		}
	}
	if known.SourcesSHA256 != "" && known.SourcesSHA256 != options.SourcesSHA256 {
		v.differ("%s: it was made by other specs, faults or registry than this harness has: sha256 %.12s, want %.12s",
			RunFile, options.SourcesSHA256, known.SourcesSHA256)
	}
	if v.Report.Result.TeethMeasured && !reflect.DeepEqual(options.Teeth, known.Teeth) {
		v.differ("%s: the outcome of the faults is not that of this harness: give the file that it was taken from with --teeth", RunFile)
	}
}

func (v *Verification) checkExpectations(options VerifyOptions) {
	subject := v.Report.Options.Subject
	if options.WorkerSHA256 != "" && options.WorkerSHA256 != subject.WorkerSHA256 {
		v.differ("%s: another worker was tested: sha256 %.12s, want %.12s", RunFile, subject.WorkerSHA256, options.WorkerSHA256)
	}
	if options.ModelSHA256 != "" && options.ModelSHA256 != subject.ModelSHA256 {
		v.differ("%s: another model was used: sha256 %.12s, want %.12s", RunFile, subject.ModelSHA256, options.ModelSHA256)
	}
	if v.Report.Ginkgo.StartTime.Before(options.NotBefore) {
		v.differ("%s: the run is too old: it started %s, want %s or later", GinkgoFile,
			v.Report.Ginkgo.StartTime.UTC().Format(time.RFC3339), options.NotBefore.UTC().Format(time.RFC3339))
	}
}

// checkEvidence compares each file with the name and summary that the specs gave it, and finds files
// that no spec named.
func (v *Verification) checkEvidence() {
	named := map[string]bool{}
	for _, spec := range v.Report.Ginkgo.SpecReports.WithLeafNodeType(types.NodeTypeIt) {
		entries, err := evidence.FromReport(spec.ReportEntries)
		if err != nil {
			continue // the spec is INCONCLUSIVE over it
		}
		for _, entry := range entries {
			for _, id := range requirement.IDs(spec.Labels()) {
				if entry.File == nil {
					continue
				}
				path := evidence.Path(id, *entry.File)
				named[path] = true
				content, found := v.Report.Evidence[path]
				if !found {
					v.differ("%s: it is missing, but spec %q recorded it as %q", path, spec.FullText(), entry.Name)
					continue
				}
				if err := entry.Check(content); err != nil {
					v.differ("%s: %v", path, err)
				}
			}
		}
	}
	for _, path := range sortedKeys(v.Report.Evidence) {
		if !named[path] {
			v.differ("%s: no spec recorded it", path)
		}
	}
}

func (v *Verification) checkAttestation(files map[string][]byte, key *attest.Key) {
	statement, signed, err := attest.Decode(files[AttestationFile], key)
	v.Signed = signed
	if err != nil {
		v.differ("%s: %v", AttestationFile, err)
		return
	}
	digests, err := attest.Digests(statement)
	if err != nil {
		v.differ("%s: %v", AttestationFile, err)
		return
	}
	actual := vouched(files)
	for _, name := range sortedKeys(actual) {
		switch digests[name] {
		case actual[name]:
		case "":
			v.differ("%s: the attestation does not know the file", name)
		default:
			v.differ("%s: sha256 %.12s, but the attestation vouches for %.12s", name, actual[name], digests[name])
		}
	}
	for _, name := range sortedKeys(digests) {
		if actual[name] == "" {
			v.differ("%s: it is missing, but the attestation vouches for it", name)
		}
	}
	wanted, err := attest.Statement(v.Report.Result, digests) // the digests have been compared
	if err != nil {
		v.differ("%s: %v", AttestationFile, err)
		return
	}
	got, err := attest.Encode(statement, nil)
	if err != nil {
		v.differ("%s: %v", AttestationFile, err)
		return
	}
	want, err := attest.Encode(wanted, nil)
	if err != nil {
		v.differ("%s: %v", AttestationFile, err)
		return
	}
	v.Differences = append(v.Differences, compareJSON(AttestationFile, got, want)...)
}

// checkDerived compares every file that is made from the truths with what they give.
func (v *Verification) checkDerived(files map[string][]byte) {
	wanted, err := v.Report.Render()
	if err != nil {
		v.differ("the report cannot be computed again: %v", err)
		return
	}
	for _, name := range sortedKeys(wanted) {
		content, found := files[name]
		switch {
		case name == AttestationFile, strings.HasPrefix(name, evidenceDir+"/"): // compared already
		case !found:
			v.differ("%s: it is missing", name)
		case bytes.Equal(content, wanted[name]):
		case strings.HasSuffix(name, ".json"):
			differences := compareJSON(name, content, wanted[name])
			if len(differences) == 0 {
				differences = []string{name + ": its bytes differ from what the evidence gives, though not its values"}
			}
			v.Differences = append(v.Differences, differences...)
		default:
			v.differ("%s: %s", name, firstLineThatDiffers(content, wanted[name]))
		}
	}
	for _, name := range sortedKeys(files) {
		if _, found := wanted[name]; !found {
			v.differ("%s: it does not belong to a report", name)
		}
	}
}

func firstLineThatDiffers(got, want []byte) string {
	gotLines, wantLines := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		gotLine, wantLine := "(end of file)", "(end of file)"
		if i < len(gotLines) {
			gotLine = gotLines[i]
		}
		if i < len(wantLines) {
			wantLine = wantLines[i]
		}
		if gotLine != wantLine {
			return fmt.Sprintf("line %d says %q, the evidence gives %q", i+1, clip(gotLine), clip(wantLine))
		}
	}
	return "its bytes differ"
}

// ParseTime reads the time of VerifyOptions.NotBefore: RFC 3339 or a plain date (UTC).
func ParseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, errors.New("want a time such as 2030-01-31T12:00:00Z or a date such as 2030-01-31")
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
