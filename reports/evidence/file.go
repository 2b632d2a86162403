package evidence

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"path"
	"strings"

	"github.com/onsi/ginkgo/v2/types"

	"touchstone/reports/secret"
)

// File is content named by its SHA-256. On its way from the spec to the report writer it carries the
// content; in a written report the content lies in evidence/<row>/<name>.
type File struct {
	SHA256    string `json:"sha256"` // lower-case hex of the content
	MediaType string `json:"mediaType"`
	Size      int    `json:"size"` // bytes
	Content   []byte `json:"content,omitempty"`
}

func newFile(mediaType string, content []byte) *File {
	return &File{SHA256: Digest(content), MediaType: mediaType, Size: len(content), Content: bytes.Clone(content)}
}

// Name is the file's name in a report: its SHA-256 and an extension after its media type.
func (f File) Name() string {
	base, _, err := mime.ParseMediaType(f.MediaType)
	switch {
	case err != nil:
		return f.SHA256 + ".bin"
	case base == "application/json" || strings.HasSuffix(base, "+json"):
		return f.SHA256 + ".json"
	case strings.HasPrefix(base, "text/"):
		return f.SHA256 + ".txt"
	default:
		return f.SHA256 + ".bin"
	}
}

// Dir is the folder of a report that holds the files of its evidence.
const Dir = "evidence"

// Path is where a row's file lies in a report.
func Path(row string, file File) string {
	return path.Join(Dir, row, file.Name())
}

// WithoutContent returns a copy that only refers to the content; nil gives nil.
func (f *File) WithoutContent() *File {
	if f == nil {
		return nil
	}
	return &File{SHA256: f.SHA256, MediaType: f.MediaType, Size: f.Size}
}

// Digest returns the lower-case hex SHA-256 of content.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// FromReport returns the evidence among a spec's report entries, in order. It reads entries recorded in
// this process, received from a parallel one, or read from Ginkgo's JSON report.
func FromReport(entries types.ReportEntries) ([]Entry, error) {
	var found []Entry
	for _, raw := range entries {
		if !IsEvidence(raw) {
			continue
		}
		entry, err := decode(raw)
		if err != nil {
			return nil, fmt.Errorf("evidence %q: %w", raw.Name, err)
		}
		found = append(found, entry)
	}
	return found, nil
}

// IsEvidence reports whether a Ginkgo report entry was recorded by this package.
func IsEvidence(entry types.ReportEntry) bool {
	return strings.HasPrefix(entry.Name, entryPrefix)
}

// Detach returns a copy of a Ginkgo report entry as a report stores it, without its file's content, and
// the file; nil where it has none. Secrets are hidden in both. With redacted, texts are replaced; see Entry.Redacted.
func Detach(raw types.ReportEntry, redacted bool, secrets []string) (types.ReportEntry, *File, error) {
	entry, err := decode(raw)
	if err == nil {
		entry, err = entry.hide(secrets)
	}
	if err == nil && redacted {
		entry, err = entry.Redacted()
	}
	if err != nil {
		return raw, nil, fmt.Errorf("evidence %q: %w", raw.Name, err)
	}
	file := entry.File
	entry.File = file.WithoutContent()
	raw.Name = secret.Values(raw.Name, secrets)
	raw.Value = types.WrapEntryValue(entry)
	return raw, file, nil
}

// Check compares content with what the entry says about it: size, digest and, for a transcript, summary.
func (entry Entry) Check(content []byte) error {
	if digest := Digest(content); digest != entry.File.SHA256 {
		return fmt.Errorf("its content has the sha256 %.12s, %q was recorded with %.12s", digest, entry.Name, entry.File.SHA256)
	}
	if len(content) != entry.File.Size {
		return fmt.Errorf("it has %d bytes, %q was recorded with %d", len(content), entry.Name, entry.File.Size)
	}
	if entry.Kind != KindTranscript {
		return nil
	}
	var exchange Exchange
	if err := json.Unmarshal(content, &exchange); err != nil {
		return fmt.Errorf("it is no transcript: %w", err)
	}
	if entry.Transcript == nil || *entry.Transcript != *exchange.summary() {
		return fmt.Errorf("the summary of %q does not agree with the transcript", entry.Name)
	}
	return nil
}

// inFlight is the form in which an entry travels between Ginkgo's processes: JSON in a string, because
// Ginkgo decodes and encodes anything else on the way, and thereby rounds large integers.
func inFlight(entry Entry) string {
	text, err := json.Marshal(entry)
	if err != nil { // entries are built of strings, numbers and values that have been encoded before
		panic(err)
	}
	return string(text)
}

func decode(raw types.ReportEntry) (Entry, error) {
	text := []byte(raw.Value.AsJSON) // set once the entry has crossed a process or a file
	if len(text) == 0 {
		var err error
		if text, err = json.Marshal(raw.GetRawValue()); err != nil {
			return Entry{}, err
		}
	}
	var inString string
	if json.Unmarshal(text, &inString) == nil {
		text = []byte(inString)
	}
	var entry Entry
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&entry); err != nil {
		return Entry{}, err
	}
	return entry, nil
}
