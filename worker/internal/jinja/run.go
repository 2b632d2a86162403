package jinja

import (
	"errors"
	"time"
)

// What one rendering may take. A template that needs more is refused while it runs: the time of all steps is well below a
// second, and the bytes are all that a rendering makes, what it drops included.
const (
	maxSteps     = 2_000_000
	maxBytes     = 64 << 20
	maxCallDepth = 60 // macros and recursive loops within another

	valueBytes = 32 // what an item of a list counts as
)

// Errors of templates that take too much.
var (
	errTooManySteps = errors.New("it takes too many steps")
	errTooManyBytes = errors.New("it makes too much text")
	errTooDeep      = errors.New("its macros call each other too deep")
)

// How break and continue travel up to their loop.
var (
	errBreak    = errors.New("break outside of a loop")
	errContinue = errors.New("continue outside of a loop")
)

// run is one rendering of a template.
type run struct {
	library *library
	now     time.Time
	out     *builder
	steps   int
	bytes   int
	depth   int
	over    error // set once the rendering took too much
}

// step counts one step of the interpreter.
func (r *run) step() error {
	if r.steps++; r.steps > maxSteps && r.over == nil {
		r.over = errTooManySteps
	}
	return r.over
}

// makes counts bytes that are about to be made. What needs time but little memory counts as steps too.
func (r *run) makes(n int) error {
	if n < 0 || n > maxBytes || r.bytes+n > maxBytes {
		n = 0
		if r.over == nil {
			r.over = errTooManyBytes
		}
	}
	r.bytes += n
	return r.over
}

// call runs a callee one level deeper.
func (r *run) call(f *function, a args) (value, error) {
	if r.depth++; r.depth > maxCallDepth {
		return nil, errTooDeep
	}
	defer func() { r.depth-- }()
	return f.call(r, a)
}

// captured gives what statements write.
func (r *run) captured(body []statement, s *scope) (text, error) {
	outer := r.out
	r.out = &builder{}
	defer func() { r.out = outer }()
	err := r.execute(body, s)
	return r.out.text(), err
}

func (r *run) execute(body []statement, s *scope) error {
	for _, node := range body {
		if err := r.step(); err != nil {
			return err
		}
		if err := node.exec(r, s); err != nil {
			return err
		}
	}
	return nil
}

// scope holds variables; what it does not hold is looked for in the one around it.
type scope struct {
	variables map[string]value
	outer     *scope
}

func (s *scope) inner() *scope { return &scope{outer: s} }

func (s *scope) set(name string, v value) {
	if s.variables == nil {
		s.variables = map[string]value{}
	}
	s.variables[name] = v
}

func (s *scope) get(name string) (value, bool) {
	for ; s != nil; s = s.outer {
		if v, ok := s.variables[name]; ok {
			return v, true
		}
	}
	return nil, false
}
