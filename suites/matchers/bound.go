package matchers

import (
	"fmt"
	"math"

	"github.com/onsi/gomega/types"
)

// Bounded is a computed result with its reference and the error that each element may have. Case names it so that it can
// be run again; At, which may be nil, names an element by its coordinates.
type Bounded struct {
	Case  string
	Got   []float32
	Want  []float64
	Bound []float64
	At    func(i int) string
}

// Worst is the largest error as a fraction of its bound, with its element; +Inf for a value that is not finite where the
// reference is, and for an error where the bound is 0. A NaN or an infinity is right only where the reference has it too.
func (b Bounded) Worst() (fraction float64, at int) {
	for i, want := range b.Want {
		f := elementFraction(float64(b.Got[i]), want, b.Bound[i])
		if f > fraction {
			fraction, at = f, i
		}
	}
	return fraction, at
}

func elementFraction(got, want, bound float64) float64 {
	switch {
	case math.IsNaN(want) && math.IsNaN(got), got == want:
		return 0
	case math.IsNaN(got) || math.IsNaN(want) || math.IsInf(got, 0) || math.IsInf(want, 0):
		return math.Inf(1)
	case bound == 0:
		return math.Inf(1)
	}
	return math.Abs(got-want) / bound
}

// Where names an element.
func (b Bounded) Where(i int) string {
	if b.At != nil {
		return b.At(i)
	}
	return fmt.Sprintf("element %d", i)
}

// BeWithinBound succeeds for a Bounded whose every element is within its own bound; there is no average that could hide one.
func BeWithinBound() types.GomegaMatcher { return &withinBound{} }

type withinBound struct{}

func (*withinBound) Match(actual any) (bool, error) {
	b, fits := actual.(Bounded)
	if !fits {
		return false, fmt.Errorf("BeWithinBound wants a matchers.Bounded, got %T", actual)
	}
	if len(b.Got) != len(b.Want) || len(b.Bound) != len(b.Want) || len(b.Want) == 0 {
		return false, fmt.Errorf("%s: %d results, %d references, %d bounds", b.Case, len(b.Got), len(b.Want), len(b.Bound))
	}
	fraction, _ := b.Worst()
	return fraction <= 1, nil
}

func (*withinBound) FailureMessage(actual any) string {
	b := actual.(Bounded)
	outside, first := 0, -1
	for i := range b.Want {
		if elementFraction(float64(b.Got[i]), b.Want[i], b.Bound[i]) > 1 {
			if first < 0 {
				first = i
			}
			outside++
		}
	}
	fraction, worst := b.Worst()
	return fmt.Sprintf("expected every element within its bound\ncase  %s\nfirst %s\nworst %s: %.3g of its bound\n%d of %d elements are outside\n%s",
		b.Case, b.describe(first), b.describe(worst), fraction, outside, len(b.Want), Rerun(b.Case))
}

func (b Bounded) describe(i int) string {
	return fmt.Sprintf("%s: want %.9g ± %.3g, got %.9g", b.Where(i), b.Want[i], b.Bound[i], b.Got[i])
}

func (*withinBound) NegatedFailureMessage(actual any) string {
	return fmt.Sprintf("expected an element outside its bound in %s", actual.(Bounded).Case)
}
