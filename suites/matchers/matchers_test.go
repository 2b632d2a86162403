package matchers_test

import (
	"math"
	"strings"
	"testing"

	"touchstone/suites/matchers"
)

func TestMatchTokensNamesTheFirstDivergence(t *testing.T) {
	matcher := matchers.MatchTokens([]int32{1, 2, 3, 4})
	if same, err := matcher.Match([]int32{1, 2, 3, 4}); !same || err != nil {
		t.Error("equal tokens must match", err)
	}
	for _, c := range []struct {
		got  []int32
		want string
	}{{[]int32{1, 2, 9, 4}, "token 2 to be 3, got 9"}, {[]int32{1, 2}, "expected 4 tokens, got 2"}, {nil, "expected 4 tokens, got 0"}} {
		if same, err := matcher.Match(c.got); same || err != nil {
			t.Error("different tokens must not match", err)
		}
		if text := matcher.FailureMessage(c.got); !strings.Contains(text, c.want) {
			t.Errorf("want %q in\n%s", c.want, text)
		}
	}
}

func TestHaveSameBitsTellsZerosApart(t *testing.T) {
	negative := float32(math.Copysign(0, -1))
	if same, _ := matchers.HaveSameBits([]float32{0}).Match([]float32{negative}); same {
		t.Error("0 and -0 have different bits")
	}
	nan := float32(math.NaN())
	if same, _ := matchers.HaveSameBits([]float32{nan}).Match([]float32{nan}); !same {
		t.Error("the same NaN has the same bits")
	}
}

func TestBeWithinBoundHidesNoElement(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, c := range []struct {
		name             string
		got, want, bound float64
		within           bool
	}{
		{"equal", 1, 1, 0, true}, {"at the bound", 1.5, 1, 0.5, true}, {"beyond the bound", 1.75, 1, 0.5, false},
		{"no bound", 1.5, 1, 0, false}, {"NaN for a number", nan, 1, 9, false}, {"number for NaN", 1, nan, 9, false},
		{"NaN for NaN", nan, nan, 0, true}, {"infinity for a number", inf, 1, 9, false}, {"infinity for infinity", inf, inf, 0, true},
	} {
		b := matchers.Bounded{Case: "op:f32:n=3", Got: make([]float32, 1000), Want: make([]float64, 1000), Bound: make([]float64, 1000)}
		b.Got[777], b.Want[777], b.Bound[777] = float32(c.got), c.want, c.bound
		matcher := matchers.BeWithinBound()
		within, err := matcher.Match(b)
		if within != c.within || err != nil {
			t.Errorf("%s: within %v, %v", c.name, within, err)
		}
		if within {
			continue
		}
		if text := matcher.FailureMessage(b); !strings.Contains(text, "element 777") || !strings.Contains(text, "case: op:f32:n=3") {
			t.Errorf("%s: the message names neither element nor case:\n%s", c.name, text)
		}
	}
	if _, err := matchers.BeWithinBound().Match(matchers.Bounded{}); err == nil {
		t.Error("a comparison of nothing must not succeed")
	}
}
