package requirement

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"time"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v3"
)

// Level says how much a row weighs: only MUST rows decide a verdict.
type Level string

// The two levels of a row, as in RFC 2119.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
)

// Waiver excuses a row that is known not to pass until a date. It is printed in every report, and a
// waived row that passes is a failure: the waiver has to be removed.
type Waiver struct {
	Owner   string `yaml:"owner" json:"owner"`
	Reason  string `yaml:"reason" json:"reason"`
	Expires string `yaml:"expires" json:"expires"` // YYYY-MM-DD, the last day on which it holds (UTC)
}

// Holds reports whether the waiver is still in force at the given time.
func (w Waiver) Holds(at time.Time) bool {
	last, err := time.Parse(time.DateOnly, w.Expires)
	return err == nil && at.UTC().Before(last.AddDate(0, 0, 1))
}

// Row is one requirement. An id never changes its meaning and is never reused.
type Row struct {
	ID     string   `yaml:"id" json:"id"`
	Layer  string   `yaml:"layer" json:"layer"`
	Title  string   `yaml:"title" json:"title"`
	Level  Level    `yaml:"level" json:"level"`
	Since  string   `yaml:"since" json:"since"`             // the registry version that brought the row
	Needs  []string `yaml:"needs" json:"needs"`             // capabilities of the subject: http, native, cuda-device, ...
	Claims []string `yaml:"claims" json:"claims"`           // what its specs prove; no other row of the registry lists them
	Faults []string `yaml:"faults,omitempty" json:"faults"` // faults that must turn the row red; Arm adds them
	Proof  string   `yaml:"proof" json:"proof"`             // one sentence: what the specs observe
	Waiver *Waiver  `yaml:"waiver,omitempty" json:"waiver,omitempty"`
}

// Registry is the fixed denominator of one gate.
type Registry struct {
	Gate    string `yaml:"gate" json:"gate"`
	Title   string `yaml:"title" json:"title"`
	Version string `yaml:"version" json:"version"`
	Rows    []Row  `yaml:"rows" json:"rows"`

	// SHA256 is the lower-case hex digest of the bytes the registry was loaded from.
	SHA256 string `yaml:"-" json:"sha256"`
}

var kebabPattern = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// Load reads an armed registry from YAML. Unknown fields, missing fields and duplicate ids are errors; the error lists
// everything that is wrong, each with its row and field.
func Load(data []byte) (*Registry, error) {
	registry, err := decode(data)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	registry.SHA256 = hex.EncodeToString(sum[:])
	if err := registry.validate(); err != nil {
		return nil, fmt.Errorf("requirement registry %q is not valid: %w", registry.Gate, err)
	}
	return registry, nil
}

func decode(data []byte) (*Registry, error) {
	var registry Registry
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&registry); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("it is empty")
		}
		return nil, fmt.Errorf("read requirement registry: %w", err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("read requirement registry: only one YAML document is allowed")
	}
	return &registry, nil
}

// LoadFS reads the registry stored under name in fsys; see Load.
func LoadFS(fsys fs.FS, name string) (*Registry, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("read requirement registry: %w", err)
	}
	return Load(data)
}

// Row returns the row with the given id.
func (r *Registry) Row(id string) (Row, bool) {
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.ID == id })
	if i < 0 {
		return Row{}, false
	}
	return r.Rows[i], true
}

// RowOf returns the row that lists the claim.
func (r *Registry) RowOf(claim string) (Row, bool) {
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return slices.Contains(row.Claims, claim) })
	if i < 0 {
		return Row{}, false
	}
	return r.Rows[i], true
}

// Layers returns the layers in the order in which the registry first names them.
func (r *Registry) Layers() []string {
	var layers []string
	for _, row := range r.Rows {
		if !slices.Contains(layers, row.Layer) {
			layers = append(layers, row.Layer)
		}
	}
	return layers
}

func (r *Registry) validate() error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if !kebabPattern.MatchString(r.Gate) {
		report("gate: want a lower-case name such as gate1, got %q", r.Gate)
	}
	if r.Title == "" {
		report("title: missing")
	}
	if _, err := semver.StrictNewVersion(r.Version); err != nil {
		report("version: want a semantic version such as 1.0.0, got %q", r.Version)
	}
	if len(r.Rows) == 0 {
		report("rows: missing")
	}
	seen, rowOf := map[string]bool{}, map[string]string{}
	for i, row := range r.Rows {
		name := row.ID
		if name == "" {
			name = fmt.Sprintf("row %d", i+1)
		}
		if seen[row.ID] {
			report("%s: id: used twice", name)
		}
		seen[row.ID] = true
		for _, claim := range row.Claims {
			if other, listed := rowOf[claim]; listed && other != name {
				report("%s: claims: %s lists %s, too", name, other, claim)
			}
			rowOf[claim] = name
		}
		for _, err := range row.problems() {
			report("%s: %w", name, err)
		}
	}
	return errors.Join(problems...)
}

func (r Row) problems() []error {
	var problems []error
	report := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }

	if !IsID(r.ID) {
		report("id: want a form such as HTTP-04, got %q", r.ID)
	}
	for _, field := range []struct{ name, value string }{{"layer", r.Layer}, {"title", r.Title}, {"proof", r.Proof}} {
		if field.value == "" {
			report("%s: missing", field.name)
		}
	}
	if r.Level != Must && r.Level != Should {
		report("level: want MUST or SHOULD, got %q", r.Level)
	}
	if _, err := semver.StrictNewVersion(r.Since); err != nil {
		report("since: want a semantic version such as 1.0.0, got %q", r.Since)
	}
	for _, list := range []struct {
		name   string
		values []string
		form   *regexp.Regexp
		want   string
	}{
		{"needs", r.Needs, kebabPattern, "kebab-case"}, {"claims", r.Claims, claimPattern, "a form such as stream.one-terminal"},
		{"faults", r.Faults, kebabPattern, "kebab-case"},
	} {
		if len(list.values) == 0 {
			report("%s: missing", list.name)
		}
		for i, value := range list.values {
			if !list.form.MatchString(value) {
				report("%s: want %s, got %q", list.name, list.want, value)
			}
			if slices.Contains(list.values[:i], value) {
				report("%s: %q is listed twice", list.name, value)
			}
		}
	}
	if w := r.Waiver; w != nil {
		if w.Owner == "" {
			report("waiver.owner: missing")
		}
		if w.Reason == "" {
			report("waiver.reason: missing")
		}
		if _, err := time.Parse(time.DateOnly, w.Expires); err != nil {
			report("waiver.expires: want a date such as 2030-01-31, got %q", w.Expires)
		}
	}
	return problems
}
