package engine

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestPaceFollowsTheDevice(t *testing.T) {
	g := NewWithT(t)
	run := func(p *pace, perRow time.Duration, steps int) {
		for range steps {
			p.learn(p.rows, p.rows, time.Duration(p.rows)*perRow)
		}
	}
	p := newPace(20*time.Millisecond, 64, 512)
	run(&p, time.Millisecond, 10)
	g.Expect(p.rows).To(BeNumerically("~", 20, 1), "20 rows of a millisecond")
	run(&p, 100*time.Microsecond, 10)
	g.Expect(p.rows).To(BeNumerically("~", 200, 10))
	run(&p, time.Microsecond, 10)
	g.Expect(p.rows).To(Equal(512), "never more than a step holds")
	run(&p, time.Second, 20)
	g.Expect(p.rows).To(Equal(leastRows+leastRows/2), "not less than half as many again as take as long as one")
	p.learn(4, 4, time.Millisecond)
	g.Expect(p.rows).To(Equal(leastRows+leastRows/2), "a step with room left tells nothing")
	slow := newPace(5*time.Millisecond, 64, 512)
	slow.learn(1, 0, 8*time.Millisecond)
	for range 20 {
		slow.learn(slow.rows, slow.rows, 8*time.Millisecond+time.Duration(slow.rows)*20*time.Microsecond)
	}
	g.Expect(slow.rows).To(BeNumerically("~", 200, 5), "12 ms are due where the weights alone take 8")
	fixed := newPace(0, 64, 512)
	run(&fixed, time.Second, 3)
	g.Expect(fixed.rows).To(Equal(512))
}
