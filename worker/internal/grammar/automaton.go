// Package grammar says which tokens may follow, so that what a model writes is JSON of a given schema.
//
// A schema becomes a recursive transition network over bytes (Woods 1970): rules that read bytes and call each other. It is
// run as a set of stacks, as a nondeterministic pushdown automaton; each set met is a state that is kept with its
// transitions, so that a deterministic automaton grows where answers go (the construction of Rabin and Scott 1959, done
// lazily). A state's mask over the vocabulary is found by a walk through the trie of all tokens, once a state.
//
// llguidance and XGrammar are the field's engines; they need Rust, or a library of their own beside the worker, which builds
// with Go and a C++ compiler alone. Over a vocabulary of 128,000 tokens a mask took 0.15 to 0.8 ms in the mean of an answer,
// and 10 to 20 ms at its first string, on one core of a shared machine.
package grammar

import (
	"errors"
	"slices"
)

// node is a place in a rule. One of its fields is set: edges, which read a byte; split, which go on without; or call. A node
// with none of them ends its rule.
type node struct {
	edges []edge
	split []*node
	call  *rule
	next  *node // after the call
	id    int
}

// edge reads a byte from low to high.
type edge struct {
	low, high byte
	to        *node
}

// rule is a part of the grammar that others call; its start may be set after calls to it were made.
type rule struct{ start *node }

// frame is a stack: where its rule is, and the stack to go back to. Equal stacks are one frame.
type frame struct {
	at *node
	up *frame // nil at the bottom
	id int
}

// state is a set of stacks whose tops read a byte.
type state struct {
	tops  []*frame
	final bool // the whole may end here
	next  [256]*state
	mask  []uint64
}

// Limits of what one grammar may take.
const (
	maxStates = 20_000    // kept; beyond, an answer fails
	maxStacks = 1_000     // in one state
	maxWork   = 5_000_000 // stacks looked at for one token
	maxMasks  = 500       // kept; beyond, a mask is found again each time
	maxDepth  = 200       // of calls before a byte is read
)

var errTooComplex = errors.New("the answer needs more of its schema than can be followed")

// dead is the state from which nothing leads on.
var dead = &state{}

// automaton holds the states met so far. It belongs to one goroutine.
type automaton struct {
	frames map[frameKey]*frame
	states map[string]*state
	start  *state
	work   int // stacks looked at for this token
	masks  int // kept
}

type frameKey struct {
	node int
	up   int
}

func newAutomaton(top *rule) (*automaton, error) {
	a := &automaton{frames: map[frameKey]*frame{}, states: map[string]*state{}}
	c := closure{automaton: a, seen: map[int]bool{}}
	if err := c.add(top.start, nil, 0); err != nil {
		return nil, err
	}
	var err error
	a.start, err = a.state(&c)
	return a, err
}

func (a *automaton) frame(at *node, up *frame) *frame {
	key := frameKey{node: at.id, up: -1}
	if up != nil {
		key.up = up.id
	}
	f, ok := a.frames[key]
	if !ok {
		f = &frame{at: at, up: up, id: len(a.frames)}
		a.frames[key] = f
	}
	return f
}

// closure collects the stacks that are reached without reading a byte.
type closure struct {
	automaton *automaton
	seen      map[int]bool // frames
	tops      []*frame
	final     bool
}

// add follows splits, calls and ends from a node on.
func (c *closure) add(at *node, up *frame, depth int) error {
	f := c.automaton.frame(at, up)
	if c.seen[f.id] {
		return nil
	}
	c.seen[f.id] = true
	c.automaton.work++
	if c.automaton.work > maxWork || len(c.seen) > maxStacks || depth > maxDepth {
		return errTooComplex
	}
	switch {
	case at.edges != nil:
		c.tops = append(c.tops, f)
	case at.call != nil:
		return c.add(at.call.start, c.automaton.frame(at.next, up), depth+1)
	case at.split != nil:
		for _, next := range at.split {
			if err := c.add(next, up, depth); err != nil {
				return err
			}
		}
	case up == nil:
		c.final = true
	default:
		return c.add(up.at, up.up, depth)
	}
	return nil
}

// state gives the one state of a set of stacks.
func (a *automaton) state(c *closure) (*state, error) {
	if len(c.tops) == 0 && !c.final {
		return dead, nil
	}
	slices.SortFunc(c.tops, func(x, y *frame) int { return x.id - y.id })
	key := make([]byte, 0, 4*len(c.tops)+1)
	for _, f := range c.tops {
		key = append(key, byte(f.id), byte(f.id>>8), byte(f.id>>16), byte(f.id>>24))
	}
	if c.final {
		key = append(key, 1)
	}
	if s, ok := a.states[string(key)]; ok {
		return s, nil
	}
	if len(a.states) >= maxStates {
		return nil, errTooComplex
	}
	s := &state{tops: c.tops, final: c.final}
	a.states[string(key)] = s
	return s, nil
}

// step gives the state after a byte; it is dead if the byte may not follow.
func (a *automaton) step(s *state, b byte) (*state, error) {
	if s == dead {
		return dead, nil
	}
	if next := s.next[b]; next != nil {
		return next, nil
	}
	c := closure{automaton: a, seen: map[int]bool{}}
	for _, f := range s.tops {
		for _, e := range f.at.edges {
			if e.low <= b && b <= e.high {
				if err := c.add(e.to, f.up, 0); err != nil {
					return nil, err
				}
			}
		}
	}
	next, err := a.state(&c)
	if err == nil {
		s.next[b] = next
	}
	return next, err
}
