package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

func defaultFilter(_ *run, input value, a args) (value, error) {
	v, err := a.bind("default", "default_value?", "boolean?")
	if err != nil {
		return nil, err
	}
	_, isUndefined := input.(*undefined)
	if isUndefined || truth(given(v[1], false)) && !truth(input) {
		return given(v[0], text{}), nil
	}
	return input, nil
}

func lengthFilter(_ *run, input value, a args) (value, error) {
	if _, err := a.bind("length"); err != nil {
		return nil, err
	}
	n, err := length(input)
	return int64(n), err
}

func listFilter(r *run, input value, a args) (value, error) {
	if _, err := a.bind("list"); err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	return &list{items: items}, err
}

func firstFilter(r *run, input value, a args) (value, error) { return r.end("first", input, a, 0) }

func lastFilter(r *run, input value, a args) (value, error) { return r.end("last", input, a, -1) }

func (r *run) end(name string, input value, a args, at int) (value, error) {
	if _, err := a.bind(name); err != nil {
		return nil, err
	}
	if _, ok := input.(*generator); ok && at < 0 {
		return nil, errors.New("a generator has no last item; put |list before it")
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return &undefined{"there is no " + name + " item"}, nil
	}
	return items[(len(items)+at)%len(items)], nil
}

func itemsFilter(r *run, input value, a args) (value, error) {
	if _, err := a.bind("items"); err != nil {
		return nil, err
	}
	switch input := input.(type) {
	case *undefined:
		return &generator{}, nil
	case *dict:
		return &generator{input.items()}, r.makes(valueBytes * len(input.keys))
	}
	return nil, fmt.Errorf("a %s has no items", typeName(input))
}

func joinFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("join", "d?", "attribute?")
	if err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	if path := given(v[1], nil); path != nil {
		if items, err = r.attributes(items, path); err != nil {
			return nil, err
		}
	}
	return r.joined(items, r.str(given(v[0], text{})))
}

// path gives what an attribute argument such as "function.name" or 0 leads to.
func (r *run) path(v, path value) (value, error) {
	steps := []value{path}
	if dotted, ok := path.(text); ok {
		steps = splitAt(dotted, ".", 100, false)
	}
	for _, step := range steps {
		if name, ok := step.(text); ok {
			if place, err := strconv.Atoi(name.s); err == nil {
				step = int64(place)
			}
		}
		var err error
		if v, err = r.item(v, step); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (r *run) attributes(items []value, path value) ([]value, error) {
	if err := r.makes(valueBytes * len(items)); err != nil {
		return nil, err
	}
	found := make([]value, len(items))
	for i, item := range items {
		var err error
		if found[i], err = r.path(item, path); err != nil {
			return nil, err
		}
	}
	return found, r.over
}

func attrFilter(_ *run, input value, a args) (value, error) {
	v, err := a.bind("attr", "name")
	if err != nil {
		return nil, err
	}
	name, err := textArgument(v[0], "name")
	if err != nil {
		return nil, err
	}
	if found, ok := attributeOf(input, name.s); ok {
		return found, nil
	}
	return &undefined{fmt.Sprintf("a %s has no attribute %.40q", typeName(input), name.s)}, nil
}

func mapFilter(r *run, input value, a args) (value, error) {
	if !truth(input) { // None too
		return &generator{}, nil
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	if path, ok := a.named["attribute"]; ok && len(a.positional) == 0 {
		fallback, hasFallback := a.named["default"]
		found, err := r.attributes(items, path)
		for i := range found {
			if _, missing := found[i].(*undefined); missing && hasFallback {
				found[i] = fallback
			}
		}
		return &generator{found}, err
	}
	if len(a.positional) == 0 {
		return nil, errors.New("map needs the name of a filter or attribute=")
	}
	name, err := textArgument(a.positional[0], "the name of a filter")
	if err != nil {
		return nil, err
	}
	apply := r.library.filters[name.s]
	if apply == nil {
		return nil, fmt.Errorf("the filter %.40q is not supported", name.s)
	}
	a.positional = a.positional[1:]
	if err := r.makes(valueBytes * len(items)); err != nil {
		return nil, err
	}
	mapped := make([]value, len(items))
	for i, item := range items {
		if mapped[i], err = apply(r, item, a); err != nil {
			return nil, err
		}
		if err := r.step(); err != nil {
			return nil, err
		}
	}
	return &generator{mapped}, nil
}

// chooseFilter makes select, selectattr (of an attribute), reject and rejectattr (not keep).
func chooseFilter(attribute, keep bool) filter {
	return func(r *run, input value, a args) (value, error) {
		if !truth(input) { // None too
			return &generator{}, nil
		}
		items, err := r.iterate(input)
		if err != nil {
			return nil, err
		}
		var path value
		if attribute {
			if len(a.positional) == 0 {
				return nil, errors.New("the name of an attribute is missing")
			}
			path, a.positional = a.positional[0], a.positional[1:]
		}
		check := filter(func(_ *run, v value, _ args) (value, error) { return truth(v), nil })
		if len(a.positional) > 0 {
			name := r.str(a.positional[0]).s
			if check = r.library.tests[name]; check == nil {
				return nil, fmt.Errorf("the test %.40q is not supported", name)
			}
			a.positional = a.positional[1:]
		}
		if err := r.makes(valueBytes * len(items)); err != nil {
			return nil, err
		}
		var chosen []value
		for _, item := range items {
			tested := item
			if attribute {
				if tested, err = r.path(item, path); err != nil {
					return nil, err
				}
			}
			result, err := check(r, tested, a)
			if err != nil {
				return nil, err
			}
			if err := r.step(); err != nil {
				return nil, err
			}
			if truth(result) == keep {
				chosen = append(chosen, item)
			}
		}
		return &generator{chosen}, nil
	}
}

func reverseFilter(r *run, input value, a args) (value, error) {
	if _, err := a.bind("reverse"); err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	if err := r.makes(valueBytes * len(items)); err != nil {
		return nil, err
	}
	items = slices.Clone(items)
	slices.Reverse(items)
	if _, ok := input.(text); ok {
		return r.joined(items, text{})
	}
	return &generator{items}, nil
}

func sumFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("sum", "attribute?", "start?")
	if err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	if path := given(v[0], nil); path != nil {
		if items, err = r.attributes(items, path); err != nil {
			return nil, err
		}
	}
	sum := given(v[1], int64(0))
	for _, item := range items {
		if sum, err = r.binary("+", sum, item); err != nil {
			return nil, err
		}
	}
	return sum, nil
}

func batchFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("batch", "linecount", "fill_with?")
	if err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	size, ok := number(v[0])
	if !ok {
		return nil, operandError("linecount", v[0])
	}
	fill := given(v[1], nil)
	if missing := size - float64(len(items)); fill != nil && missing > 0 {
		if err := r.makesTimes(valueBytes, int64(min(missing, maxBytes))); err != nil {
			return nil, err
		}
	}
	if err := r.makes(2 * valueBytes * len(items)); err != nil {
		return nil, err
	}
	var batches, batch []value
	for _, item := range items {
		if float64(len(batch)) == size {
			batches, batch = append(batches, &list{items: batch}), nil
		}
		batch = append(batch, item)
	}
	for fill != nil && len(batch) > 0 && float64(len(batch)) < size {
		batch = append(batch, fill)
	}
	if len(batch) > 0 {
		batches = append(batches, &list{items: batch})
	}
	return &generator{batches}, nil
}

func sliceFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("slice", "slices", "fill_with?")
	if err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	count, err := integerArgument(v[0], "slices")
	if err != nil || count == 0 {
		return nil, errors.Join(errDivision, err)
	}
	if count < 0 {
		return &generator{}, nil
	}
	if err := r.makes(valueBytes * (len(items) + 2*count)); err != nil {
		return nil, err
	}
	each, longer := len(items)/count, len(items)%count
	var cut []value
	for i, at := 0, 0; i < count; i++ {
		size := each
		if i < longer {
			size++
		}
		part := slices.Clone(items[at : at+size])
		if fill := given(v[1], nil); fill != nil && i >= longer {
			part = append(part, fill)
		}
		cut = append(cut, &list{items: part})
		at += size
	}
	return &generator{cut}, nil
}
