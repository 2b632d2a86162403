package jinja

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// sortBy puts order, places of keys, in the order of the keys.
func (r *run) sortBy(order []int, keys []value) error {
	var failed error
	slices.SortStableFunc(order, func(i, j int) int {
		if failed != nil {
			return 0
		}
		less, err := r.less(keys[i], keys[j])
		if err == nil && less {
			return -1
		}
		more := false
		if err == nil {
			more, err = r.less(keys[j], keys[i])
		}
		failed = err
		if more {
			return 1
		}
		return 0
	})
	return failed
}

// folded makes texts equal that differ in case alone.
func folded(v value, caseSensitive bool) value {
	if t, ok := v.(text); ok && !caseSensitive {
		return plain(strings.ToLower(t.s))
	}
	return v
}

// sortKeys gives what items are sorted by: attributes named by paths separated by commas, or themselves, as lists.
func (r *run) sortKeys(items []value, paths value, caseSensitive bool) ([]value, error) {
	if err := r.makes(2 * valueBytes * len(items)); err != nil {
		return nil, err
	}
	keys := make([]value, len(items))
	for i, item := range items {
		if paths == nil {
			keys[i] = &list{items: []value{folded(item, caseSensitive)}}
			continue
		}
		parts := []value{paths}
		if t, ok := paths.(text); ok {
			parts = splitAt(t, ",", 100, false)
		}
		key := &list{}
		for _, part := range parts {
			v, err := r.path(item, part)
			if err != nil {
				return nil, err
			}
			key.items = append(key.items, folded(v, caseSensitive))
		}
		keys[i] = key
	}
	return keys, nil
}

// keys gives what items are compared by: an attribute, or themselves.
func (r *run) keys(items []value, path value, caseSensitive bool) ([]value, error) {
	if err := r.makes(valueBytes * len(items)); err != nil {
		return nil, err
	}
	keys := make([]value, len(items))
	for i, v := range items {
		if path != nil {
			var err error
			if v, err = r.path(v, path); err != nil {
				return nil, err
			}
		}
		keys[i] = folded(v, caseSensitive)
	}
	return keys, nil
}

func (r *run) sorted(items, keys []value, reverse bool) ([]value, error) {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	if reverse { // equal items keep their order all the same
		slices.Reverse(order)
	}
	if err := r.sortBy(order, keys); err != nil {
		return nil, err
	}
	if reverse {
		slices.Reverse(order)
	}
	sorted := make([]value, len(items))
	for i, at := range order {
		sorted[i] = items[at]
	}
	return sorted, nil
}

func sortFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("sort", "reverse?", "case_sensitive?", "attribute?")
	if err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	keys, err := r.sortKeys(items, given(v[2], nil), truth(given(v[1], false)))
	if err != nil {
		return nil, err
	}
	sorted, err := r.sorted(items, keys, truth(given(v[0], false)))
	return &list{items: sorted}, err
}

func dictsortFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("dictsort", "case_sensitive?", "by?", "reverse?")
	if err != nil {
		return nil, err
	}
	d, ok := input.(*dict)
	if !ok {
		return nil, fmt.Errorf("a %s cannot be sorted as a dict", typeName(input))
	}
	by := d.keys
	switch r.str(given(v[1], plain("key"))).s {
	case "key":
	case "value":
		by = d.values
	default:
		return nil, errors.New(`by must be "key" or "value"`)
	}
	keys, err := r.keys(by, nil, truth(given(v[0], false)))
	if err != nil {
		return nil, err
	}
	sorted, err := r.sorted(d.items(), keys, truth(given(v[2], false)))
	return &list{items: sorted}, err
}

func groupbyFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("groupby", "attribute", "default?", "case_sensitive?")
	if err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	found, err := r.attributes(items, v[0])
	if err != nil {
		return nil, err
	}
	keys := make([]value, len(found))
	for i := range found {
		if _, missing := found[i].(*undefined); missing {
			found[i] = given(v[1], found[i])
		}
		keys[i] = folded(found[i], truth(given(v[2], false)))
	}
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	if err := r.sortBy(order, keys); err != nil {
		return nil, err
	}
	groups := &list{}
	var group *list
	var key value
	for _, at := range order {
		if group == nil || !r.equal(key, keys[at]) {
			group, key = &list{}, keys[at]
			groups.items = append(groups.items, &list{items: []value{found[at], group}, kind: tupleKind})
		}
		group.items = append(group.items, items[at])
	}
	return groups, r.over
}

func uniqueFilter(r *run, input value, a args) (value, error) {
	v, err := a.bind("unique", "case_sensitive?", "attribute?")
	if err != nil {
		return nil, err
	}
	items, err := r.iterate(input)
	if err != nil {
		return nil, err
	}
	keys := items
	if path := given(v[1], nil); path != nil {
		if keys, err = r.attributes(items, path); err != nil {
			return nil, err
		}
	}
	seen := map[any]bool{}
	var unique []value
	for i, item := range items {
		hash, err := r.hashable(folded(keys[i], truth(given(v[0], false))))
		if err != nil {
			return nil, err
		}
		if !seen[hash] {
			seen[hash] = true
			unique = append(unique, item)
		}
	}
	return &generator{unique}, nil
}

func extremeFilter(largest bool) filter {
	return func(r *run, input value, a args) (value, error) {
		v, err := a.bind("it", "case_sensitive?", "attribute?")
		if err != nil {
			return nil, err
		}
		items, err := r.iterate(input)
		if err != nil {
			return nil, err
		}
		if len(items) == 0 {
			return &undefined{"there is no item"}, nil
		}
		keys, err := r.keys(items, given(v[1], nil), truth(given(v[0], false)))
		if err != nil {
			return nil, err
		}
		best := 0
		for i := 1; i < len(items); i++ {
			left, right := keys[i], keys[best]
			if largest {
				left, right = right, left
			}
			better, err := r.less(left, right)
			if err != nil {
				return nil, err
			}
			if better {
				best = i
			}
		}
		return items[best], nil
	}
}
