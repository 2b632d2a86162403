package soak

import (
	"encoding/json"
	"time"
)

// Format names the ledger's format.
const Format = "touchstone-soak-ledger/1"

// Header is the first line of a ledger. Ledgers with different headers, Local aside, are of different soaks.
type Header struct {
	Format     string  `json:"format"`
	PlanSHA256 string  `json:"planSha256"`
	Plan       Plan    `json:"plan"`
	Subject    Subject `json:"subject"`
	Local      *Local  `json:"local,omitempty"`
}

// NewHeader is the header of a ledger that is begun now.
func NewHeader(plan Plan, subject Subject, shard Shard, machine string) Header {
	local := &Local{Shard: shard.String(), Started: time.Now().UTC().Format(time.RFC3339), Machine: machine}
	return Header{Format: Format, PlanSHA256: plan.SHA256(), Plan: plan, Subject: subject, Local: local}
}

// Subject is what was soaked. Fields that could not be known are empty.
type Subject struct {
	Harness       string `json:"harness"`
	Worker        string `json:"worker"`
	WorkerVersion string `json:"workerVersion,omitempty"`
	WorkerSHA256  string `json:"workerSha256,omitempty"`
	Model         string `json:"model,omitempty"`
	ModelSHA256   string `json:"modelSha256,omitempty"`
}

// Local is what a header says of the place where its ledger was written; it is no part of the canonical form.
type Local struct {
	Shard   string `json:"shard"` // "k/n"
	Started string `json:"started"`
	Machine string `json:"machine"`
}

// Reference is the outcome of a request in a fresh process, alone, with every factor at its baseline.
type Reference struct {
	Request int     `json:"request"`
	Outcome Outcome `json:"outcome"`
}

// Control is a negative control: a request with another seed, which must be able to change its output.
type Control struct {
	Request int     `json:"request"`
	Seed    uint64  `json:"seed"`
	Outcome Outcome `json:"outcome"`
}

// Output is one of the outputs of a run: that of the drawn request, of a request beside it, or of one sent before it.
type Output struct {
	Role       string `json:"role"` // "subject", "before", "company 1" ...
	Request    int    `json:"request"`
	SHA256     string `json:"sha256"`
	TextSHA256 string `json:"textSha256,omitempty"` // empty where the text is not known
	// Difference and Outcome are set if the output is not that of the reference.
	Difference *Difference `json:"difference,omitempty"`
	Outcome    *Outcome    `json:"outcome,omitempty"`
}

// Verdict is what a run showed.
type Verdict string

// The verdicts of runs.
const (
	Same     Verdict = "same"     // every output is that of its reference
	Diverged Verdict = "diverged" // an output is another
	Errored  Verdict = "error"    // an output is missing
)

// Record is a run that was done.
type Record struct {
	Run
	Verdict  Verdict   `json:"verdict"`
	Outputs  []Output  `json:"outputs,omitempty"`
	Volatile *Volatile `json:"volatile,omitempty"`
}

// Volatile is what differs between two soaks that agree; it is no part of the canonical form.
type Volatile struct {
	At     string  `json:"at"` // when the run ended, RFC 3339
	Millis float64 `json:"ms"` // from its first request to its last event
	// FirstTokenMillis is the time to the first token of the drawn request; 0 where it is not known.
	FirstTokenMillis float64 `json:"firstTokenMs,omitempty"`
	// RSS is the resident memory in bytes, by process, after the run. A name stands for one process as long as it lives.
	RSS   map[string]uint64 `json:"rss,omitempty"`
	Error string            `json:"error,omitempty"`
}

// Line is a line of a ledger: exactly one field is set.
type Line struct {
	Header    *Header    `json:"header,omitempty"`
	Asked     *int       `json:"asked,omitempty"` // runs asked for; the last such line holds; 0: as many as time allows
	Reference *Reference `json:"reference,omitempty"`
	Control   *Control   `json:"control,omitempty"`
	Run       *Record    `json:"run,omitempty"`
}

// encode gives the line with its end.
func (l Line) encode() []byte {
	encoded, err := json.Marshal(l)
	if err != nil {
		panic(err) // lines hold plain finite values only
	}
	return append(encoded, '\n')
}
