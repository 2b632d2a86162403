package jinja

import (
	"fmt"
	"slices"
	"strings"
)

// args are the arguments of a call.
type args struct {
	positional []value
	named      map[string]value
	order      []string // of the named ones
}

// name adds a named argument.
func (a *args) name(name string, v value) {
	if a.named == nil {
		a.named = map[string]value{}
	}
	if _, ok := a.named[name]; !ok {
		a.order = append(a.order, name)
	}
	a.named[name] = v
}

// take gives the argument of the parameter at a place.
func (a *args) take(at int, name string) (value, bool) {
	if at < len(a.positional) {
		return a.positional[at], true
	}
	v, ok := a.named[name]
	return v, ok
}

// absent stands for an optional argument that was not given.
type absent struct{}

// bind gives the arguments in the order of parameters; a name that ends in "?" is optional.
func (a *args) bind(function string, parameters ...string) ([]value, error) {
	values := make([]value, len(parameters))
	if len(a.positional) > len(parameters) {
		return nil, fmt.Errorf("%s takes at most %d arguments, not %d", function, len(parameters), len(a.positional))
	}
	for _, name := range a.order {
		if !slices.Contains(parameters, name) && !slices.Contains(parameters, name+"?") {
			return nil, fmt.Errorf("%s has no argument %.40q", function, name)
		}
	}
	for i, parameter := range parameters {
		name, optional := strings.CutSuffix(parameter, "?")
		v, ok := a.take(i, name)
		if !ok {
			if !optional {
				return nil, fmt.Errorf("%s needs the argument %s", function, name)
			}
			v = absent{}
		}
		values[i] = v
	}
	return values, nil
}

// given gives v, or the fallback for an optional argument that was not given.
func given(v, fallback value) value {
	if v == (value)(absent{}) {
		return fallback
	}
	return v
}

// textArgument wants a string.
func textArgument(v value, what string) (text, error) {
	if t, ok := v.(text); ok {
		return t, nil
	}
	return text{}, fmt.Errorf("%s must be a str, not a %s", what, typeName(v))
}

// integerArgument wants an integer of moderate size.
func integerArgument(v value, what string) (int, error) {
	n, ok := integer(v)
	if !ok || n < -maxBytes || n > maxBytes {
		return 0, fmt.Errorf("%s must be an int of moderate size, not %s", what, typeName(v))
	}
	return int(n), nil
}
