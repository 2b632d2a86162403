package verdict

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"touchstone/reports/internal/strict"
)

// Teeth is the outcome of playing faults against the specs of a gate: which faults turned which rows red. It holds for the
// sources with which it was measured, and for no others.
type Teeth struct {
	SourcesSHA256 string              `json:"sourcesSha256"` // as SourcesDigest gives it
	Rows          map[string]TeethRow `json:"rows"`          // by row id
}

// TeethRow lists the faults of one row by what happened.
type TeethRow struct {
	Killed   []string `json:"killed"`   // turned the row FAILED, with the message that the fault expects
	Survived []string `json:"survived"` // did not: the row is blind to them, or failed over something else
}

// ReadTeeth reads a Teeth from JSON.
func ReadTeeth(data []byte) (*Teeth, error) {
	var teeth Teeth
	if err := strict.Decode(data, &teeth); err != nil {
		return nil, fmt.Errorf("read the outcome of the faults: %w", err)
	}
	if teeth.SourcesSHA256 == "" {
		return nil, errors.New("read the outcome of the faults: sourcesSha256 is missing")
	}
	return &teeth, nil
}

// SourcesDigest is the SHA-256 of a registry and of trees of sources, each file with its path: of programs and of what they
// read, but not of tests and documents, which change nothing that a gate does.
func SourcesDigest(registry []byte, trees ...fs.FS) (string, error) {
	sum := sha256.New()
	add := func(name string, content []byte) {
		digest := sha256.Sum256(content)
		fmt.Fprintf(sum, "%x  %s\n", digest, name)
	}
	add("registry", registry)
	for i, tree := range trees {
		err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !isSource(name) {
				return err
			}
			content, err := fs.ReadFile(tree, name)
			add(fmt.Sprintf("%d/%s", i, name), content)
			return err
		})
		if err != nil {
			return "", fmt.Errorf("digest of the sources: %w", err)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func isSource(name string) bool {
	return slices.Contains([]string{".go", ".c", ".cc", ".h", ".txt"}, path.Ext(name)) && !strings.HasSuffix(name, "_test.go")
}

// applyTeeth notes which of the row's faults turned it red. Faults of other rows do not count, though
// they may have: a row is proven by the faults the registry names for it.
func (r *Row) applyTeeth(teeth TeethRow) {
	for _, fault := range r.Faults {
		if slices.Contains(teeth.Killed, fault) {
			r.Killed = append(r.Killed, fault)
		}
	}
	if r.State == Passed && len(r.Killed) == 0 {
		r.State, r.Reasons = Unproven, []string{"no fault has been shown to turn it red"}
	}
}

// apply tells whether the teeth count for a run: they do for the sources and the dialect in which they were shown.
func (t *Teeth) apply(options Options) bool {
	return t != nil && t.SourcesSHA256 != "" && t.SourcesSHA256 == options.SourcesSHA256 && !options.Subject.overOpenAI()
}
