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
			p.learn(p.rows, time.Duration(p.rows)*perRow)
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
	g.Expect(p.rows).To(Equal(leastRows), "never less than is worth a step")
	p.learn(4, time.Millisecond)
	g.Expect(p.rows).To(Equal(leastRows), "a step with room left tells nothing")
	fixed := newPace(0, 64, 512)
	run(&fixed, time.Second, 3)
	g.Expect(fixed.rows).To(Equal(512))
}
