package jinja

import (
	"errors"
	"fmt"
	"strings"
)

func (n *literal) eval(*run, *scope) (value, error) { return n.value, nil }

func (n *nameNode) eval(r *run, s *scope) (value, error) {
	if v, ok := s.get(n.name); ok {
		return v, nil
	}
	return &undefined{fmt.Sprintf("%.40q is undefined", n.name)}, nil
}

// values evaluates expressions one after another.
func (r *run) values(nodes []expression, s *scope) ([]value, error) {
	values := make([]value, len(nodes))
	for i, node := range nodes {
		var err error
		if values[i], err = r.value(node, s); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// value evaluates an expression.
func (r *run) value(node expression, s *scope) (value, error) {
	if err := r.step(); err != nil {
		return nil, err
	}
	return node.eval(r, s)
}

func (n *listNode) eval(r *run, s *scope) (value, error) {
	if err := r.makes(valueBytes * len(n.items)); err != nil {
		return nil, err
	}
	items, err := r.values(n.items, s)
	return &list{items: items, kind: n.kind}, err
}

func (n *dictNode) eval(r *run, s *scope) (value, error) {
	if err := r.makes(2 * valueBytes * len(n.keys)); err != nil {
		return nil, err
	}
	d := newDict()
	for i, node := range n.keys {
		key, err := r.value(node, s)
		if err != nil {
			return nil, err
		}
		v, err := r.value(n.values[i], s)
		if err != nil {
			return nil, err
		}
		if err := d.set(r, key, v); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (n *unaryNode) eval(r *run, s *scope) (value, error) {
	v, err := r.value(n.operand, s)
	if err != nil {
		return nil, err
	}
	if n.operator == "not" {
		return !truth(v), nil
	}
	sign := int64(1)
	if n.operator == "-" {
		sign = -1
	}
	if x, ok := v.(float64); ok {
		return float64(sign) * x, nil
	}
	if i, ok := integer(v); ok {
		return sign * i, nil
	}
	return nil, operandError(n.operator, v)
}

func (n *logicNode) eval(r *run, s *scope) (value, error) {
	left, err := r.value(n.left, s)
	if err != nil || truth(left) == n.or {
		return left, err
	}
	return r.value(n.right, s)
}

func (n *compareNode) eval(r *run, s *scope) (value, error) {
	left, err := r.value(n.left, s)
	if err != nil {
		return nil, err
	}
	for _, c := range n.chain {
		right, err := r.value(c.right, s)
		if err != nil {
			return nil, err
		}
		ok, err := r.compare(c.operator, left, right)
		if err != nil || !ok {
			return false, err
		}
		left = right
	}
	return true, nil
}

func (r *run) compare(operator string, left, right value) (bool, error) {
	switch operator {
	case "==", "!=":
		return r.equal(left, right) == (operator == "=="), r.over
	case "in", "not in":
		found, err := r.contains(right, left)
		return found == (operator == "in"), err
	case ">", "<=":
		left, right = right, left
	}
	for _, v := range []value{left, right} {
		if u, ok := v.(*undefined); ok {
			return false, u.err()
		}
	}
	less, err := r.less(left, right)
	if operator == "<=" || operator == ">=" {
		return !less, err
	}
	return less, err
}

func (n *concatNode) eval(r *run, s *scope) (value, error) {
	parts, err := r.values(n.parts, s)
	if err != nil {
		return nil, err
	}
	var b builder
	for _, part := range parts {
		r.put(&b, r.str(part))
	}
	return b.text(), r.over
}

func (n *conditionalNode) eval(r *run, s *scope) (value, error) {
	condition, err := r.value(n.condition, s)
	if err != nil {
		return nil, err
	}
	switch {
	case truth(condition):
		return r.value(n.then, s)
	case n.otherwise == nil:
		return &undefined{"a condition without else was false"}, nil
	}
	return r.value(n.otherwise, s)
}

func (n *attributeNode) eval(r *run, s *scope) (value, error) {
	object, err := r.value(n.object, s)
	if err != nil {
		return nil, err
	}
	return r.attribute(object, n.name)
}

// attribute is the object.name of a template: an attribute or method, else an item.
func (r *run) attribute(object value, name string) (value, error) {
	if u, ok := object.(*undefined); ok {
		return nil, u.err()
	}
	if v, ok := attributeOf(object, name); ok {
		return v, nil
	}
	if d, ok := object.(*dict); ok {
		if v, ok := d.get(r, plain(name)); ok {
			return v, nil
		}
	}
	return &undefined{fmt.Sprintf("a %s has no attribute %.40q", typeName(object), name)}, nil
}

func (n *itemNode) eval(r *run, s *scope) (value, error) {
	object, err := r.value(n.object, s)
	if err != nil {
		return nil, err
	}
	key, err := r.value(n.key, s)
	if err != nil {
		return nil, err
	}
	return r.item(object, key)
}

// item is the object[key] of a template: an item, else an attribute.
func (r *run) item(object, key value) (value, error) {
	if u, ok := object.(*undefined); ok {
		return nil, u.err()
	}
	if d, ok := object.(*dict); ok {
		if v, ok := d.get(r, key); ok {
			return v, nil
		}
	}
	if at, ok := integer(key); ok {
		if v, ok := indexed(object, at); ok {
			return v, nil
		}
	}
	if name, ok := key.(text); ok {
		if v, ok := attributeOf(object, name.s); ok {
			return v, nil
		}
	}
	return &undefined{fmt.Sprintf("a %s has no item %.40s", typeName(object), r.repr(key).s)}, nil
}

// indexed gives an item of a sequence by its place, from the end if that is negative.
func indexed(object value, at int64) (value, bool) {
	place := func(size int) (int, bool) {
		if at < 0 {
			at += int64(size)
		}
		return int(at), at >= 0 && at < int64(size)
	}
	switch object := object.(type) {
	case *list:
		if i, ok := place(len(object.items)); ok && object.kind != viewKind {
			return object.items[i], true
		}
	case text:
		offsets := object.offsets()
		if i, ok := place(len(offsets) - 1); ok {
			return object.slice(offsets[i], offsets[i+1]), true
		}
	}
	return nil, false
}

func (n *sliceNode) eval(r *run, s *scope) (value, error) {
	object, err := r.value(n.object, s)
	if err != nil {
		return nil, err
	}
	var bounds [3]*int64
	for i, node := range []expression{n.start, n.stop, n.step} {
		if node == nil {
			continue
		}
		v, err := r.value(node, s)
		if err != nil {
			return nil, err
		}
		bound, ok := integer(v)
		switch {
		case ok:
			bounds[i] = &bound
		case v != nil:
			return nil, fmt.Errorf("a slice needs integers, not a %s", typeName(v))
		}
	}
	switch object := object.(type) {
	case *list:
		if object.kind == viewKind {
			break
		}
		places, err := r.places(len(object.items), bounds)
		if err != nil {
			return nil, err
		}
		items := make([]value, len(places))
		for i, at := range places {
			items[i] = object.items[at]
		}
		return &list{items: items, kind: object.kind}, nil
	case text:
		offsets := object.offsets()
		if bounds[2] == nil || *bounds[2] == 1 {
			start, stop := window(len(offsets)-1, bounds[0], bounds[1])
			return object.slice(offsets[start], offsets[max(start, stop)]), nil
		}
		places, err := r.places(len(offsets)-1, bounds)
		if err != nil {
			return nil, err
		}
		var b builder
		for _, at := range places {
			b.write(object.slice(offsets[at], offsets[at+1]))
		}
		return b.text(), nil
	case *undefined:
		return nil, object.err()
	}
	return nil, fmt.Errorf("a %s cannot be sliced", typeName(object))
}

// window settles start and stop of a slice with step 1 for a sequence of size items.
func window(size int, start, stop *int64) (from, to int) {
	settle := func(bound *int64, fallback int) int {
		if bound == nil {
			return fallback
		}
		at := *bound
		if at < 0 {
			at += int64(size)
		}
		return int(max(0, min(at, int64(size))))
	}
	return settle(start, 0), settle(stop, size)
}

// places gives the places that a slice takes of a sequence of size items.
func (r *run) places(size int, bounds [3]*int64) ([]int, error) {
	step := int64(1)
	if bounds[2] != nil {
		step = *bounds[2]
	}
	if step == 0 {
		return nil, errors.New("the step of a slice is 0")
	}
	if err := r.makes(valueBytes * size); err != nil {
		return nil, err
	}
	var places []int
	if step > 0 {
		from, to := window(size, bounds[0], bounds[1])
		for at := int64(from); at < int64(to); at += min(step, int64(size)+1) {
			places = append(places, int(at))
		}
		return places, nil
	}
	settle := func(bound *int64, fallback int64) int64 {
		if bound == nil {
			return fallback
		}
		if at := *bound; at >= 0 {
			return min(at, int64(size)-1)
		}
		return max(*bound+int64(size), -1)
	}
	stop := settle(bounds[1], -1)
	for at := settle(bounds[0], int64(size)-1); at > stop; at += max(step, -int64(size)-1) {
		places = append(places, int(at))
	}
	return places, nil
}

// arguments evaluates the arguments of a call.
func (r *run) arguments(n *arguments, s *scope) (args, error) {
	positional, err := r.values(n.positional, s)
	if err != nil {
		return args{}, err
	}
	a := args{positional: positional}
	if n.list != nil {
		v, err := r.value(n.list, s)
		if err != nil {
			return a, err
		}
		items, err := r.iterate(v)
		if err != nil {
			return a, err
		}
		if err := r.makes(valueBytes * len(items)); err != nil {
			return a, err
		}
		a.positional = append(a.positional, items...)
	}
	for i, name := range n.names {
		v, err := r.value(n.named[i], s)
		if err != nil {
			return a, err
		}
		a.name(name, v)
	}
	if n.dict != nil {
		v, err := r.value(n.dict, s)
		if err != nil {
			return a, err
		}
		d, ok := v.(*dict)
		if !ok {
			return a, fmt.Errorf("a %s cannot be passed as **", typeName(v))
		}
		for i, key := range d.keys {
			name, ok := key.(text)
			if !ok {
				return a, fmt.Errorf("the name of an argument is a %s", typeName(key))
			}
			a.name(name.s, d.values[i])
		}
	}
	return a, nil
}

func (n *callNode) eval(r *run, s *scope) (value, error) {
	callee, err := r.value(n.callee, s)
	if err != nil {
		return nil, err
	}
	a, err := r.arguments(&n.arguments, s)
	if err != nil {
		return nil, err
	}
	switch callee := callee.(type) {
	case *function:
		return r.call(callee, a)
	case *loop:
		return callee.again(r, a)
	case *undefined:
		return nil, callee.err()
	}
	return nil, fmt.Errorf("a %s cannot be called", typeName(callee))
}

func (n *filterNode) eval(r *run, s *scope) (value, error) {
	input, err := r.value(n.input, s)
	if err != nil {
		return nil, err
	}
	return n.applyTo(r, s, input)
}

// onBody passes the text of a block through a chain of filters, the first of which has no input.
func (n *filterNode) onBody(r *run, s *scope, body text) (value, error) {
	input := value(body)
	if before, ok := n.input.(*filterNode); ok {
		var err error
		if input, err = before.onBody(r, s, body); err != nil {
			return nil, err
		}
	}
	return n.applyTo(r, s, input)
}

func (n *filterNode) applyTo(r *run, s *scope, input value) (value, error) {
	a, err := r.arguments(&n.arguments, s)
	if err != nil {
		return nil, err
	}
	if n.apply == nil {
		return nil, fmt.Errorf("there is no filter %.40q", n.name)
	}
	v, err := n.apply(r, input, a)
	if err != nil {
		return nil, fmt.Errorf("filter %s: %w", n.name, err)
	}
	return v, r.over
}

func (n *testNode) eval(r *run, s *scope) (value, error) {
	input, err := r.value(n.input, s)
	if err != nil {
		return nil, err
	}
	a, err := r.arguments(&n.arguments, s)
	if err != nil {
		return nil, err
	}
	if n.check == nil {
		return nil, fmt.Errorf("there is no test %.40q", n.name)
	}
	result, err := n.check(r, input, a)
	if err != nil {
		return nil, err
	}
	return truth(result) != n.negated, r.over
}

func operandError(operator string, operands ...value) error {
	names := make([]string, len(operands))
	for i, v := range operands {
		if u, ok := v.(*undefined); ok {
			return u.err()
		}
		names[i] = typeName(v)
	}
	return fmt.Errorf("%s does not work on %s", operator, strings.Join(names, " and "))
}
