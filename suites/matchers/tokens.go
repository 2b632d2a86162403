package matchers

import (
	"fmt"
	"math"

	"github.com/onsi/gomega/types"
)

// MatchTokens succeeds for an []int32 that equals want.
func MatchTokens(want []int32) types.GomegaMatcher {
	return &sameSequence[int32]{want: want, what: "token", equal: func(a, b int32) bool { return a == b }}
}

// HaveSameBits succeeds for a []float32 whose bits equal those of want.
func HaveSameBits(want []float32) types.GomegaMatcher {
	return &sameSequence[float32]{want: want, what: "value", equal: func(a, b float32) bool {
		return math.Float32bits(a) == math.Float32bits(b)
	}, show: func(v float32) string { return fmt.Sprintf("%v (0x%08x)", v, math.Float32bits(v)) }}
}

type sameSequence[T any] struct {
	want  []T
	got   []T
	what  string
	equal func(a, b T) bool
	show  func(T) string
}

func (m *sameSequence[T]) Match(actual any) (bool, error) {
	got, fits := actual.([]T)
	if !fits {
		return false, fmt.Errorf("want a %T, got %T", m.want, actual)
	}
	if m.show == nil {
		m.show = func(v T) string { return fmt.Sprint(v) }
	}
	m.got = got
	return len(got) == len(m.want) && m.divergence() == len(got), nil
}

func (m *sameSequence[T]) divergence() int {
	for i := range min(len(m.got), len(m.want)) {
		if !m.equal(m.got[i], m.want[i]) {
			return i
		}
	}
	return min(len(m.got), len(m.want))
}

func (m *sameSequence[T]) FailureMessage(any) string {
	at := m.divergence()
	if at == len(m.got) || at == len(m.want) {
		return fmt.Sprintf("expected %d %ss, got %d; the first %d are equal\nwant %s\ngot  %s\n%s",
			len(m.want), m.what, len(m.got), at, window(m.want, at), window(m.got, at), Rerun(""))
	}
	return fmt.Sprintf("expected %s %d to be %s, got %s: the first divergence of %d\nwant %s\ngot  %s\n%s",
		m.what, at, m.show(m.want[at]), m.show(m.got[at]), len(m.want), window(m.want, at), window(m.got, at), Rerun(""))
}

func (m *sameSequence[T]) NegatedFailureMessage(any) string {
	return fmt.Sprintf("expected the %ss to differ, but all %d are equal\n%s", m.what, len(m.want), Rerun(""))
}

// window shows what stands around a position.
func window[T any](values []T, at int) string {
	const each = 4
	first, last := max(0, at-each), min(len(values), at+each+1)
	return fmt.Sprintf("[%d:%d] = %v", first, last, values[min(first, len(values)):last])
}
