package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strings"
)

// value is a value of a template: nil (None), bool, int64, *big.Int (an integer of the data that int64 does not hold),
// float64, text, *list, *dict, *generator, *undefined, *namespace, *loop or *function.
type value any

type listKind int

const (
	plainList listKind = iota
	tupleKind
	viewKind  // what dict.items() and its like give
	rangeKind // what range() gives
)

// list is a list or a tuple. Templates cannot change it.
type list struct {
	items []value
	kind  listKind
	name  string // of a view: what Python prints before its items; of a range: all that Python prints
}

// dict keeps the order of its keys. Templates cannot change it.
type dict struct {
	keys, values []value
	index        map[any]int // by hashable
}

// generator gives its items once, as filters such as map and select do. It is true even if it is empty.
type generator struct{ items []value }

// undefined stands for what does not exist. It prints as nothing and is false; most other uses fail.
type undefined struct{ why string }

func (u *undefined) err() error { return fmt.Errorf("%s", u.why) }

// namespace is an object whose attributes a template may set.
type namespace struct{ attributes map[string]value }

// function is what can be called: a macro, a method or a global function.
type function struct {
	name string
	call func(r *run, a args) (value, error)
}

func newDict() *dict { return &dict{index: map[any]int{}} }

// set adds or replaces an entry.
func (d *dict) set(r *run, key, v value) error {
	hash, err := r.hashable(key)
	if err != nil {
		return err
	}
	if at, ok := d.index[hash]; ok {
		d.values[at] = v
		return nil
	}
	d.index[hash] = len(d.keys)
	d.keys, d.values = append(d.keys, key), append(d.values, v)
	return nil
}

func (d *dict) get(r *run, key value) (value, bool) {
	hash, err := r.hashable(key)
	if err != nil {
		return nil, false
	}
	at, ok := d.index[hash]
	if !ok {
		return nil, false
	}
	return d.values[at], true
}

func (d *dict) items() []value {
	items := make([]value, len(d.keys))
	for i := range d.keys {
		items[i] = &list{items: []value{d.keys[i], d.values[i]}, kind: tupleKind}
	}
	return items
}

// hashable gives a comparable Go value that is equal for equal keys.
func (r *run) hashable(v value) (any, error) {
	switch v := v.(type) {
	case text:
		return v.s, nil
	case bool:
		if v {
			return int64(1), nil
		}
		return int64(0), nil
	case int64, nil:
		return v, nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<62 {
			return int64(v), nil
		}
		return v, nil
	case *list:
		if v.kind == tupleKind {
			for _, item := range v.items {
				if _, err := r.hashable(item); err != nil {
					return nil, err
				}
			}
			type tupleKey string
			return tupleKey(r.repr(v).s), nil
		}
	case *undefined:
		return (*undefined)(nil), nil
	}
	return nil, fmt.Errorf("a %s cannot be a key", typeName(v))
}

// typeName is Python's name of a value's type.
func typeName(v value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case text:
		return "str"
	case *list:
		return [...]string{"list", "tuple", "view", "range"}[v.kind]
	case *dict:
		return "dict"
	case *undefined:
		return "Undefined"
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", v), "*jinja.")
}

func truth(v value) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case text:
		return v.s != ""
	case *list:
		return len(v.items) > 0
	case *dict:
		return len(v.keys) > 0
	}
	return true
}

// iterate gives the items of a value: a generator's for the last time.
func (r *run) iterate(v value) ([]value, error) {
	switch v := v.(type) {
	case *list:
		return v.items, nil
	case *dict:
		return v.keys, nil
	case *undefined:
		return nil, nil
	case *generator:
		items := v.items
		v.items = nil
		return items, nil
	case text:
		if err := r.makes(valueBytes * len(v.s)); err != nil {
			return nil, err
		}
		offsets := v.offsets()
		items := make([]value, len(offsets)-1)
		for i := range items {
			items[i] = v.slice(offsets[i], offsets[i+1])
		}
		return items, nil
	}
	return nil, fmt.Errorf("a %s cannot be iterated over", typeName(v))
}

// length is Python's len.
func length(v value) (int, error) {
	switch v := v.(type) {
	case text:
		return v.length(), nil
	case *list:
		return len(v.items), nil
	case *dict:
		return len(v.keys), nil
	case *undefined:
		return 0, nil
	}
	return 0, fmt.Errorf("a %s has no length", typeName(v))
}

// equal is Python's ==.
func (r *run) equal(a, b value) bool {
	if r.step() != nil {
		return false
	}
	switch a := a.(type) {
	case text:
		b, ok := b.(text)
		return ok && a.s == b.s
	case *list:
		b, ok := b.(*list)
		if !ok || a.kind != b.kind || len(a.items) != len(b.items) {
			return false
		}
		for i := range a.items {
			if !r.equal(a.items[i], b.items[i]) {
				return false
			}
		}
		return true
	case *dict:
		b, ok := b.(*dict)
		if !ok || len(a.keys) != len(b.keys) {
			return false
		}
		for i, key := range a.keys {
			other, ok := b.get(r, key)
			if !ok || !r.equal(a.values[i], other) {
				return false
			}
		}
		return true
	case *undefined:
		_, ok := b.(*undefined)
		return ok
	case *big.Int:
		b, ok := b.(*big.Int)
		return ok && a.Cmp(b) == 0
	}
	if x, y, ok := integers2(a, b); ok {
		return x == y
	}
	if x, y, ok := floats2(a, b); ok {
		return x == y
	}
	if _, isText := b.(text); isText {
		return false
	}
	return a == b
}

// less is Python's <.
func (r *run) less(a, b value) (bool, error) {
	if err := r.step(); err != nil {
		return false, err
	}
	if x, y, ok := integers2(a, b); ok {
		return x < y, nil
	}
	if x, y, ok := floats2(a, b); ok {
		return x < y, nil
	}
	switch a := a.(type) {
	case text:
		if b, ok := b.(text); ok {
			return a.s < b.s, nil
		}
	case *list:
		if b, ok := b.(*list); ok && a.kind == b.kind {
			for i := range min(len(a.items), len(b.items)) {
				if !r.equal(a.items[i], b.items[i]) {
					return r.less(a.items[i], b.items[i])
				}
			}
			return len(a.items) < len(b.items), nil
		}
	}
	return false, fmt.Errorf("a %s and a %s cannot be ordered", typeName(a), typeName(b))
}

// contains is Python's in.
func (r *run) contains(container, v value) (bool, error) {
	switch container := container.(type) {
	case text:
		part, ok := v.(text)
		if !ok {
			return false, fmt.Errorf("a str cannot contain a %s", typeName(v))
		}
		return strings.Contains(container.s, part.s), nil
	case *dict:
		if _, err := r.hashable(v); err != nil {
			return false, err
		}
		_, ok := container.get(r, v)
		return ok, nil
	case nil, bool, int64, float64:
		return false, fmt.Errorf("a %s cannot contain anything", typeName(container))
	}
	items, err := r.iterate(container)
	if err != nil {
		return false, err
	}
	for _, item := range items {
		if r.equal(item, v) {
			return true, r.over
		}
	}
	return false, r.over
}

// integer gives an integer or a boolean as one.
func integer(v value) (int64, bool) {
	switch v := v.(type) {
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case int64:
		return v, true
	}
	return 0, false
}

func number(v value) (float64, bool) {
	if x, ok := v.(float64); ok {
		return x, true
	}
	n, ok := integer(v)
	return float64(n), ok
}

func integers2(a, b value) (x, y int64, ok bool) {
	x, ok1 := integer(a)
	y, ok2 := integer(b)
	return x, y, ok1 && ok2
}

func floats2(a, b value) (x, y float64, ok bool) {
	x, ok1 := number(a)
	y, ok2 := number(b)
	return x, y, ok1 && ok2
}
