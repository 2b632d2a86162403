package gate1_test

import (
	"testing"

	"touchstone/gates/gate1"
	"touchstone/reports/requirement"
)

// TestNoRowIsLost checks the figures that the gate began with: rows may be added, never removed.
func TestNoRowIsLost(t *testing.T) {
	known, err := gate1.Gate.Known()
	if err != nil {
		t.Fatal(err)
	}
	registry, err := requirement.Load(known.Registry)
	if err != nil {
		t.Fatal(err)
	}
	least := map[string]int{"HTTP": 6, "FFI": 4, "CUDA": 4, "Kernels": 5, "KV cache": 3, "Integration": 5}
	got := map[string]int{}
	for _, row := range registry.Rows {
		got[row.Layer]++
	}
	for layer, rows := range least {
		if got[layer] < rows {
			t.Errorf("layer %s has %d rows, want at least %d", layer, got[layer], rows)
		}
	}
}
