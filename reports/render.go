package reports

import (
	"strings"

	"touchstone/reports/attest"
	"touchstone/reports/evidence"
	"touchstone/reports/html"
	"touchstone/reports/junit"
	"touchstone/reports/markdown"
	"touchstone/reports/verdict"
)

// The files that are made from the truths of a report.
const (
	ReportFile      = "report.json"
	ChecklistFile   = "checklist.md"
	JUnitFile       = "junit.xml"
	HTMLFile        = "report.html"
	AttestationFile = "attestation.json"
)

// Document is report.json.
type Document struct {
	SchemaVersion int `json:"schemaVersion"`
	verdict.Result
}

// Render returns every file of the report by its path in the report directory.
func (r *Report) Render() (map[string][]byte, error) {
	files := map[string][]byte{GinkgoFile: r.GinkgoJSON, RegistryFile: r.RegistryYAML}
	for path, content := range r.Evidence {
		files[path] = content
	}
	for _, file := range []struct {
		name   string
		encode func() ([]byte, error)
	}{
		{RunFile, func() ([]byte, error) { return encodeJSON(runRecord{SchemaVersion, r.Options}) }},
		{ReportFile, func() ([]byte, error) { return encodeJSON(Document{SchemaVersion, r.Result}) }},
		{ChecklistFile, func() ([]byte, error) { return markdown.Checklist(r.Result), nil }},
		{JUnitFile, func() ([]byte, error) { return junit.Encode(r.Result) }},
		{HTMLFile, func() ([]byte, error) { return html.Encode(r.Result, r.Evidence) }},
	} {
		content, err := file.encode()
		if err != nil {
			return nil, err
		}
		files[file.name] = content
	}
	attestation, err := r.attestation(files)
	if err != nil {
		return nil, err
	}
	files[AttestationFile] = attestation
	files[ManifestFile] = manifest(files)
	return files, nil
}

func (r *Report) attestation(files map[string][]byte) ([]byte, error) {
	statement, err := attest.Statement(r.Result, vouched(files))
	if err != nil {
		return nil, err
	}
	return attest.Encode(statement, r.Key)
}

// vouched are the digests of the files an attestation lists: all but itself, the manifest, which names it, and those under
// evidence/, whose names in ginkgo.json are their digests.
func vouched(files map[string][]byte) map[string]string {
	listed := map[string]string{}
	for name, content := range files {
		if name != AttestationFile && name != ManifestFile && !strings.HasPrefix(name, evidenceDir+"/") {
			listed[name] = evidence.Digest(content)
		}
	}
	return listed
}
