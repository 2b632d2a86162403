package suite_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"touchstone/gates/catalogue"
	"touchstone/reports"
	"touchstone/reports/requirement"
)

// A gate of three rows from claims of others is one YAML and one short file: its tree has their specs and no others.
func TestASecondGateIsAListOfClaims(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "report")
	command := exec.CommandContext(t.Context(), "go", "test", "-count=1", "./testdata/second", "-ginkgo.dry-run", "-report-dir", dir)
	output, _ := command.CombinedOutput() // a dry run is INCOMPLETE, and exits 1
	text, err := os.ReadFile(filepath.Join(dir, reports.ReportFile))
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	var document reports.Document
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		specs int
		fault string
	}{"SND-01": {3, "token-missing"}, "SND-02": {2, "buffered"}, "SND-03": {4, "html-error-body"}}
	if len(document.Rows) != len(want) {
		t.Errorf("got %d rows, want %d", len(document.Rows), len(want))
	}
	for _, row := range document.Rows {
		if len(row.Specs) != want[row.ID].specs || !slices.Contains(row.Faults, want[row.ID].fault) {
			t.Errorf("%s has %d specs and the faults %v, want %+v", row.ID, len(row.Specs), row.Faults, want[row.ID])
		}
	}
}

func TestEveryGateIsWhatItSays(t *testing.T) {
	seen := map[string]string{}
	for _, gate := range catalogue.Gates {
		known, err := gate.Known()
		if err != nil {
			t.Fatal(err)
		}
		registry, err := requirement.Load(known.Registry)
		if err != nil {
			t.Fatal(err)
		}
		if registry.Gate != gate.Name {
			t.Errorf("the gate %q has the registry of %q", gate.Name, registry.Gate)
		}
		for _, row := range registry.Rows {
			if other, used := seen[row.ID]; used {
				t.Errorf("the id %s is used by %s and by %s", row.ID, other, gate.Name)
			}
			seen[row.ID] = gate.Name
		}
	}
}
