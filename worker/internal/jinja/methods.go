package jinja

import (
	"errors"
	"fmt"
	"strings"
)

// missingMethods are methods of Python's values that are not here. A template that calls one is refused when it is read.
var missingMethods = []string{
	"encode", "expandtabs", "format_map", "isidentifier", "maketrans", "translate", "fromkeys",
	"bit_length", "is_integer", "hex", "intersection", "union",
}

// attributeOf gives a method or another attribute that values of a kind have by themselves.
func attributeOf(object value, name string) (value, bool) {
	if strings.HasPrefix(name, "_") {
		return nil, false
	}
	switch object := object.(type) {
	case *loop:
		return object.attribute(name)
	case *namespace:
		v, ok := object.attributes[name]
		return v, ok
	case text:
		if method, ok := textMethods[name]; ok {
			return &function{name, func(r *run, a args) (value, error) { return method(r, object, a) }}, true
		}
	case *list:
		if method, ok := listMethods[name]; ok && object.kind != viewKind {
			return &function{name, func(r *run, a args) (value, error) { return method(r, object, a) }}, true
		}
	case *dict:
		if method, ok := dictMethods[name]; ok {
			return &function{name, func(r *run, a args) (value, error) { return method(r, object, a) }}, true
		}
	}
	return nil, false
}

// set sets an attribute of a namespace.
func (n *namespace) set(name string, v value) error {
	if strings.HasPrefix(name, "_") {
		return fmt.Errorf("an attribute of a namespace may not begin with an underscore: %.40q", name)
	}
	n.attributes[name] = v
	return nil
}

type listMethod func(r *run, l *list, a args) (value, error)

var listMethods = map[string]listMethod{
	"count": func(r *run, l *list, a args) (value, error) {
		v, err := a.bind("count", "value")
		if err != nil {
			return nil, err
		}
		count := int64(0)
		for _, item := range l.items {
			if r.equal(item, v[0]) {
				count++
			}
		}
		return count, r.over
	},
	"index": func(r *run, l *list, a args) (value, error) {
		v, err := a.bind("index", "value")
		if err != nil {
			return nil, err
		}
		for i, item := range l.items {
			if r.equal(item, v[0]) {
				return int64(i), r.over
			}
		}
		return nil, errors.New("the value is not in the list")
	},
	"copy": func(_ *run, l *list, a args) (value, error) {
		_, err := a.bind("copy")
		return l, err
	},
}

type dictMethod func(r *run, d *dict, a args) (value, error)

func dictView(name string, items func(d *dict) []value) dictMethod {
	return func(r *run, d *dict, a args) (value, error) {
		if _, err := a.bind(name); err != nil {
			return nil, err
		}
		if err := r.makes(valueBytes * len(d.keys)); err != nil {
			return nil, err
		}
		return &list{items: items(d), kind: viewKind, name: "dict_" + name}, nil
	}
}

var dictMethods = map[string]dictMethod{
	"items":  dictView("items", (*dict).items),
	"keys":   dictView("keys", func(d *dict) []value { return d.keys }),
	"values": dictView("values", func(d *dict) []value { return d.values }),
	"copy": func(_ *run, d *dict, a args) (value, error) {
		_, err := a.bind("copy")
		return d, err
	},
	"get": func(r *run, d *dict, a args) (value, error) {
		v, err := a.bind("get", "key", "default?")
		if err != nil {
			return nil, err
		}
		if len(a.named) > 0 {
			return nil, errors.New("get takes no named arguments")
		}
		if _, err := r.hashable(v[0]); err != nil {
			return nil, err
		}
		if found, ok := d.get(r, v[0]); ok {
			return found, nil
		}
		return given(v[1], nil), nil
	},
}
