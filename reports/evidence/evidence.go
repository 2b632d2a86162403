// Package evidence records what a spec saw. A requirement is green only when each of its specs passed
// and recorded at least one piece of evidence.
//
// The package-level functions are called inside a running spec. They attach a typed entry to the
// spec's Ginkgo report, from which the verdict is computed and, for larger content, files named by
// their SHA-256 are written. They may be called from several goroutines of a spec, but not after the
// spec has ended: Ginkgo would book the entry on the next spec.
package evidence

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/onsi/ginkgo/v2"

	"touchstone/reports/secret"
)

// Kind names the type of an entry.
type Kind string

// The kinds of evidence.
const (
	KindObservation Kind = "observation"
	KindTranscript  Kind = "transcript"
	KindKernelError Kind = "kernel-error"
	KindLogitsHash  Kind = "logits-hash"
	KindBlob        Kind = "blob"
	KindNotRun      Kind = "not-run"
)

// Entry is one piece of evidence as it travels in Ginkgo's report. Exactly the fields of its kind are set.
type Entry struct {
	Kind Kind   `json:"kind"`
	Name string `json:"name"`

	Value       any                `json:"value,omitempty"` // observation: any JSON value
	Unit        string             `json:"unit,omitempty"`  // observation: "ms", "bytes", "" for a plain number or text
	Transcript  *TranscriptSummary `json:"transcript,omitempty"`
	KernelError *Kernel            `json:"kernelError,omitempty"`
	SHA256      string             `json:"sha256,omitempty"` // logits-hash: of the little-endian float32 logits, lower-case hex
	File        *File              `json:"file,omitempty"`   // transcript and blob: the content
	Reason      string             `json:"reason,omitempty"` // not-run: why, such as "needs a CUDA device"
}

// Kernel is the outcome of comparing a kernel with its reference.
type Kernel struct {
	Op     string `json:"op"`     // "gemm", "rope", ...
	Format string `json:"format"` // weight type: "f32", "q8_0", ...
	ISA    string `json:"isa"`    // where it ran: "avx2", "generic", "sim", "cuda:0", ...
	Cases  int    `json:"cases"`  // elements or shapes compared
	// WorstFractionOfBound is the largest error divided by its permitted bound: at most 1 is within the
	// bound. It is a number, or "NaN" or "+Inf" where the kernel produced one.
	WorstFractionOfBound any    `json:"worstFractionOfBound"`
	Where                string `json:"where"` // the element with the largest error
}

// Recorder hands entries to a sink. The sink must be safe for concurrent use where the recorder is used so.
type Recorder struct {
	sink func(Entry, int)
}

// NewRecorder returns a recorder that hands every entry to sink instead of to Ginkgo; for tests of
// code that records evidence.
func NewRecorder(sink func(Entry)) *Recorder {
	return &Recorder{sink: func(entry Entry, _ int) { sink(entry) }}
}

// entryPrefix begins the name of every Ginkgo report entry of this package.
const entryPrefix = "evidence/v1 "

var ginkgoRecorder = &Recorder{sink: func(entry Entry, skip int) {
	name := entryPrefix + string(entry.Kind) + " " + entry.Name
	ginkgo.AddReportEntry(name, inFlight(entry), ginkgo.ReportEntryVisibilityNever, ginkgo.Offset(skip+1))
}}

// Observe records one value a spec saw, such as Observe("tokens", 64, "") or Observe("p99", 3.1, "ms").
// value must be encodable as JSON; what is not (NaN, a channel) is recorded as its text.
func Observe(name string, value any, unit string) { ginkgoRecorder.observe(name, value, unit, 2) }

// KernelError records the comparison of one kernel with its reference: cases compared, the largest
// error as a fraction of its bound, and the element where it occurred.
func KernelError(op, format, isa string, cases int, worstFractionOfBound float64, where string) {
	ginkgoRecorder.kernelError(op, format, isa, cases, worstFractionOfBound, where, 2)
}

// LogitsHash records the SHA-256 (lower-case hex) of a step's little-endian float32 logits.
func LogitsHash(name, sha256 string) { ginkgoRecorder.logitsHash(name, sha256, 2) }

// Attach records content as a file, named in the report by its SHA-256. mediaType is an IANA media
// type such as "text/plain".
func Attach(name, mediaType string, content []byte) {
	ginkgoRecorder.attach(name, mediaType, content, 2)
}

// NotRun records a part of the spec that did not run, and what it would need: NotRun("GEMM by cuBLAS", "needs a CUDA device").
// It is no evidence of anything: a spec that records nothing else is NOT RUN, and its row says how many parts are missing.
func NotRun(part, reason string) { ginkgoRecorder.notRun(part, reason, 2) }

// Transcript records an exchange with the subject: its request, response and events.
func Transcript(name string, t Exchange) { ginkgoRecorder.transcript(name, t, 2) }

// Observe is the package-level Observe for this recorder.
func (r *Recorder) Observe(name string, value any, unit string) { r.observe(name, value, unit, 2) }

// KernelError is the package-level KernelError for this recorder.
func (r *Recorder) KernelError(op, format, isa string, cases int, worstFractionOfBound float64, where string) {
	r.kernelError(op, format, isa, cases, worstFractionOfBound, where, 2)
}

// LogitsHash is the package-level LogitsHash for this recorder.
func (r *Recorder) LogitsHash(name, sha256 string) { r.logitsHash(name, sha256, 2) }

// Attach is the package-level Attach for this recorder.
func (r *Recorder) Attach(name, mediaType string, content []byte) {
	r.attach(name, mediaType, content, 2)
}

// NotRun is the package-level NotRun for this recorder.
func (r *Recorder) NotRun(part, reason string) { r.notRun(part, reason, 2) }

// Transcript is the package-level Transcript for this recorder.
func (r *Recorder) Transcript(name string, t Exchange) { r.transcript(name, t, 2) }

func (r *Recorder) observe(name string, value any, unit string, skip int) {
	r.sink(Entry{Kind: KindObservation, Name: name, Value: encodable(value), Unit: unit}, skip)
}

func (r *Recorder) kernelError(op, format, isa string, cases int, worst float64, where string, skip int) {
	name := fmt.Sprintf("%s %s on %s", op, format, isa)
	kernel := &Kernel{Op: op, Format: format, ISA: isa, Cases: cases, WorstFractionOfBound: encodable(worst), Where: where}
	r.sink(Entry{Kind: KindKernelError, Name: name, KernelError: kernel}, skip)
}

func (r *Recorder) logitsHash(name, sha256 string, skip int) {
	r.sink(Entry{Kind: KindLogitsHash, Name: name, SHA256: sha256}, skip)
}

func (r *Recorder) attach(name, mediaType string, content []byte, skip int) {
	r.sink(Entry{Kind: KindBlob, Name: name, File: newFile(mediaType, content)}, skip)
}

func (r *Recorder) notRun(part, reason string, skip int) {
	r.sink(Entry{Kind: KindNotRun, Name: part, Reason: reason}, skip)
}

func (r *Recorder) transcript(name string, t Exchange, skip int) {
	t.RequestHeader, t.ResponseHeader, t.URL = secret.Header(t.RequestHeader), secret.Header(t.ResponseHeader), secret.Text(t.URL)
	content, err := json.MarshalIndent(t, "", "  ")
	if err != nil { // an Exchange holds strings and finite numbers only, unless a time is not finite
		r.observe(name, fmt.Sprintf("%+v", t), "", skip+1)
		return
	}
	r.sink(Entry{Kind: KindTranscript, Name: name, Transcript: t.summary(), File: newFile(TranscriptMediaType, content)}, skip)
}

// encodable returns value in a form that JSON can carry: what cannot be encoded becomes text, and the
// value is fixed at this moment, so that later changes through a pointer do not alter the evidence.
func encodable(value any) any {
	if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return fmt.Sprint(f)
	}
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%+v", value)
	}
	return json.RawMessage(encoded)
}

// BeyondBound tells of a kernel error that it is above its bound, or no number: what a spec that passed cannot have seen.
func (entry Entry) BeyondBound() bool {
	if entry.KernelError == nil {
		return false
	}
	fraction, err := strconv.ParseFloat(fmt.Sprint(entry.KernelError.WorstFractionOfBound), 64)
	return err != nil || !(fraction >= 0 && fraction <= 1)
}

// String is an entry in a few words, for people.
func (entry Entry) String() string {
	switch entry.Kind {
	case KindTranscript:
		t := entry.Transcript
		if t == nil {
			return entry.Name
		}
		return fmt.Sprintf("%s: %d, %d events in %.0f ms", entry.Name, t.Status, t.Events, t.ElapsedMS)
	case KindKernelError:
		k := entry.KernelError
		if k == nil {
			return entry.Name
		}
		return fmt.Sprintf("%s: worst %v of bound in %d cases", entry.Name, k.WorstFractionOfBound, k.Cases)
	case KindLogitsHash:
		return fmt.Sprintf("%s: logits %.12s", entry.Name, entry.SHA256)
	case KindBlob:
		if entry.File == nil {
			return entry.Name
		}
		return fmt.Sprintf("%s: %d bytes", entry.Name, entry.File.Size)
	case KindNotRun:
		return fmt.Sprintf("%s: not run, %s", entry.Name, entry.Reason)
	default:
		return strings.TrimSpace(fmt.Sprintf("%s %s %s", entry.Name, asJSON(entry.Value), entry.Unit))
	}
}

// asJSON shows a value so that "1" is not 1.
func asJSON(value any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // recorded values are encodable
	return strings.TrimSpace(text.String())
}
