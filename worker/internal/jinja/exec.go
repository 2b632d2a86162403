package jinja

import (
	"errors"
	"fmt"
	"slices"
)

func (n *textNode) exec(r *run, _ *scope) error {
	r.put(r.out, n.text)
	return r.over
}

func (n *printNode) exec(r *run, s *scope) error {
	v, err := r.value(n.value, s)
	if err != nil {
		return err
	}
	r.put(r.out, r.str(v))
	return r.over
}

func (n *ifNode) exec(r *run, s *scope) error {
	for i, condition := range n.conditions {
		v, err := r.value(condition, s)
		if err != nil {
			return err
		}
		if truth(v) {
			return r.execute(n.bodies[i], s)
		}
	}
	return r.execute(n.otherwise, s)
}

func (n *loopControl) exec(*run, *scope) error { return n.err }

func (n *forNode) exec(r *run, s *scope) error {
	v, err := r.value(n.list, s)
	if err != nil {
		return err
	}
	return n.over(r, s, v, 0)
}

// over runs the loop over the items of v, at a depth of recursion.
func (n *forNode) over(r *run, s *scope, v value, depth int) error {
	items, err := r.iterate(v)
	if err != nil {
		return err
	}
	if n.condition != nil {
		var kept []value
		for _, item := range items {
			inner := s.inner()
			if err := r.assign(&n.target, item, inner); err != nil {
				return err
			}
			keep, err := r.value(n.condition, inner)
			if err != nil {
				return err
			}
			if truth(keep) {
				kept = append(kept, item)
			}
		}
		items = kept
	}
	if len(items) == 0 {
		return r.execute(n.otherwise, s.inner())
	}
	l := &loop{items: items, depth: depth, node: n, scope: s}
	for i, item := range items {
		if err := r.step(); err != nil {
			return err
		}
		l.at = i
		inner := s.inner()
		inner.set("loop", l)
		if err := r.assign(&n.target, item, inner); err != nil {
			return err
		}
		err := r.execute(n.body, inner)
		if errors.Is(err, errBreak) {
			return nil
		}
		if err != nil && !errors.Is(err, errContinue) {
			return err
		}
	}
	return nil
}

// loop is the variable of that name in a loop.
type loop struct {
	items   []value
	at      int
	depth   int
	node    *forNode
	scope   *scope
	changed value // the last value given to loop.changed(), as a tuple
}

// again is the call loop(items) of a recursive loop.
func (l *loop) again(r *run, a args) (value, error) {
	v, err := a.bind("loop", "iterable")
	if err != nil {
		return nil, err
	}
	if !l.node.recursive {
		return nil, errors.New("loop is called, but the loop is not recursive")
	}
	inner := &function{name: "loop", call: func(r *run, _ args) (value, error) {
		outer := r.out
		r.out = &builder{}
		defer func() { r.out = outer }()
		err := l.node.over(r, l.scope, v[0], l.depth+1)
		return r.out.text(), err
	}}
	return r.call(inner, args{})
}

func (l *loop) attribute(name string) (value, bool) {
	size, at := int64(len(l.items)), int64(l.at)
	neighbour := func(i int) value {
		if i < 0 || i >= len(l.items) {
			return &undefined{"there is no such item in the loop"}
		}
		return l.items[i]
	}
	switch name {
	case "index":
		return at + 1, true
	case "index0":
		return at, true
	case "revindex":
		return size - at, true
	case "revindex0":
		return size - at - 1, true
	case "first":
		return at == 0, true
	case "last":
		return at == size-1, true
	case "length":
		return size, true
	case "depth":
		return int64(l.depth + 1), true
	case "depth0":
		return int64(l.depth), true
	case "previtem":
		return neighbour(l.at - 1), true
	case "nextitem":
		return neighbour(l.at + 1), true
	case "cycle":
		return &function{name, func(_ *run, a args) (value, error) {
			if len(a.positional) == 0 {
				return nil, errors.New("loop.cycle needs values")
			}
			return a.positional[l.at%len(a.positional)], nil
		}}, true
	case "changed":
		return &function{name, func(r *run, a args) (value, error) {
			current := &list{items: a.positional, kind: tupleKind}
			changed := l.changed == nil || !r.equal(l.changed, current)
			l.changed = current
			return changed, nil
		}}, true
	}
	return nil, false
}

// assign gives a value to a target.
func (r *run) assign(t *target, v value, s *scope) error {
	switch {
	case t.parts != nil:
		items, err := r.iterate(v)
		if err != nil {
			return err
		}
		if len(items) != len(t.parts) {
			return fmt.Errorf("%d values cannot be given to %d names", len(items), len(t.parts))
		}
		for i := range t.parts {
			if err := r.assign(&t.parts[i], items[i], s); err != nil {
				return err
			}
		}
	case t.attribute != "":
		object, _ := s.get(t.name)
		space, ok := object.(*namespace)
		if !ok {
			return fmt.Errorf("%.40s is no namespace: its attributes cannot be set", t.name)
		}
		return space.set(t.attribute, v)
	default:
		s.set(t.name, v)
	}
	return nil
}

func (n *setNode) exec(r *run, s *scope) error {
	v, err := r.value(n.value, s)
	if err != nil {
		return err
	}
	return r.assign(&n.target, v, s)
}

func (n *setBlockNode) exec(r *run, s *scope) error {
	body, err := r.captured(n.body, s.inner())
	if err != nil {
		return err
	}
	v := value(body)
	if n.filter != nil {
		if v, err = n.filter.onBody(r, s, body); err != nil {
			return err
		}
	}
	return r.assign(&n.target, v, s)
}

func (n *filterBlockNode) exec(r *run, s *scope) error {
	body, err := r.captured(n.body, s.inner())
	if err != nil {
		return err
	}
	v, err := n.filter.onBody(r, s, body)
	if err != nil {
		return err
	}
	r.put(r.out, r.str(v))
	return r.over
}

func (n *withNode) exec(r *run, s *scope) error {
	inner := s.inner()
	values, err := r.values(n.values, s)
	if err != nil {
		return err
	}
	for i := range n.targets {
		if err := r.assign(&n.targets[i], values[i], inner); err != nil {
			return err
		}
	}
	return r.execute(n.body, inner)
}

func (n *scopeNode) exec(r *run, s *scope) error { return r.execute(n.body, s.inner()) }

func (n *macroNode) exec(_ *run, s *scope) error {
	s.set(n.name, n.bind(s))
	return nil
}

// bind makes the macro a function that sees the variables around it.
func (n *macroNode) bind(s *scope) *function {
	return &function{name: n.name, call: func(r *run, a args) (value, error) {
		inner := s.inner()
		for i, name := range n.parameters {
			v, given := a.take(i, name)
			if !given {
				v = &undefined{fmt.Sprintf("the parameter %.40q was not given", name)}
				if at := i - (len(n.parameters) - len(n.defaults)); at >= 0 {
					var err error
					if v, err = r.value(n.defaults[at], inner); err != nil {
						return nil, err
					}
				}
			}
			inner.set(name, v)
		}
		if err := n.rest(r, a, inner); err != nil {
			return nil, err
		}
		return r.captured(n.body, inner)
	}}
}

// rest gives a macro what it has no parameter for: its caller, and more arguments in varargs and kwargs.
func (n *macroNode) rest(r *run, a args, inner *scope) error {
	varargs := &list{items: a.positional[min(len(n.parameters), len(a.positional)):], kind: tupleKind}
	kwargs := newDict()
	for _, name := range a.order {
		switch {
		case slices.Contains(n.parameters, name):
		case name == "caller" && n.uses["caller"]:
			inner.set("caller", a.named[name])
		default:
			if err := kwargs.set(r, plain(name), a.named[name]); err != nil {
				return err
			}
		}
	}
	if len(varargs.items) > 0 && !n.uses["varargs"] || len(kwargs.keys) > 0 && !n.uses["kwargs"] {
		return fmt.Errorf("the macro %.40s was given more than its %d arguments", n.name, len(n.parameters))
	}
	inner.set("varargs", varargs)
	inner.set("kwargs", kwargs)
	return nil
}

func (n *callBlockNode) exec(r *run, s *scope) error {
	callee, err := r.value(n.call.callee, s)
	if err != nil {
		return err
	}
	a, err := r.arguments(&n.call.arguments, s)
	if err != nil {
		return err
	}
	f, ok := callee.(*function)
	if !ok {
		return fmt.Errorf("a %s cannot be called", typeName(callee))
	}
	a.name("caller", n.caller.bind(s))
	v, err := r.call(f, a)
	if err != nil {
		return err
	}
	r.put(r.out, r.str(v))
	return r.over
}
