package sampling

import (
	"math"
	"testing"
)

// The references are checked against published vectors and values worked out by hand: they judge everything else. The vectors
// are the known answers that the authors of Philox publish with Random123 (kat_vectors, philox4x32 10).
func TestPhiloxGivesThePublishedVectors(t *testing.T) {
	for i, vector := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}, [2]uint32{^uint32(0), ^uint32(0)},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
	} {
		if got := Philox(vector.counter, vector.key); got != vector.want {
			t.Errorf("vector %d: %08x, want %08x", i, got, vector.want)
		}
	}
}

func TestSamplingReferenceOnKnownDistributions(t *testing.T) {
	quarter := []float32{1, 1, 1, 1}
	all := Settings{Temperature: 1, TopP: 1, Penalty: 1}
	for _, c := range []struct {
		name   string
		s      Settings
		logits []float32
		want   []float64
	}{
		{"equal", all, quarter, []float64{0.25, 0.25, 0.25, 0.25}},
		{"ratio of e", all, []float32{1, 0}, []float64{math.E / (1 + math.E), 1 / (1 + math.E)}},
		{"top-k 2 of equals", Settings{Temperature: 1, TopP: 1, Penalty: 1, TopK: 2}, quarter, []float64{0.5, 0.5, 0, 0}},
		{"top-p half of equals", Settings{Temperature: 1, TopP: 0.5, Penalty: 1}, quarter, []float64{0.5, 0.5, 0, 0}},
		{"greedy tie", Settings{TopP: 1, Penalty: 1}, quarter, []float64{1, 0, 0, 0}},
	} {
		got := Distribution(c.s, c.logits, nil)
		for i := range c.want {
			if math.Abs(got.Probabilities[i]-c.want[i]) > 1e-12 {
				t.Errorf("%s: %v, want %v", c.name, got.Probabilities, c.want)
			}
		}
	}
}
