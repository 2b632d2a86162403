package api

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"touchstone/worker/internal/problem"
)

// ignore takes fields that make no difference to what is generated.
func (f *fields) ignore(names ...string) { f.taken = append(f.taken, names...) }

// only takes a field of which this worker offers nothing but the given values, or absence.
func (f *fields) only(name string, offered ...any) {
	value, present := f.take(name)
	if !present || slices.ContainsFunc(offered, func(o any) bool { return sameValue(o, value) }) {
		return
	}
	shown := make([]string, len(offered))
	for i, o := range offered {
		data, err := json.Marshal(o)
		if err != nil { // only a defect of this package can cause it
			panic(err)
		}
		shown[i] = string(data)
	}
	f.reject(name, strings.Join(shown, " or ")+" or absent: this worker offers nothing else", value)
}

func sameValue(a, b any) bool {
	x, xIsNumber := a.(json.Number)
	y, yIsNumber := b.(json.Number)
	if xIsNumber && yIsNumber {
		m, errM := strconv.ParseFloat(string(x), 64)
		n, errN := strconv.ParseFloat(string(y), 64)
		return errM == nil && errN == nil && m == n
	}
	return reflect.DeepEqual(a, b)
}

// oneOf takes a required string of a list.
func (f *fields) oneOf(name string, offered ...string) string {
	constraint := "one of " + strings.Join(offered, ", ")
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return ""
	}
	text, ok := value.(string)
	if !ok || !slices.Contains(offered, text) {
		f.reject(name, constraint, value)
		return ""
	}
	return text
}

// nest adds what was wrong inside an object to what is wrong with its parent.
func (f *fields) nest(name string, inner *fields) {
	p := inner.problem()
	if p == nil {
		return
	}
	for _, e := range p.Errors {
		e.Field = name + "." + e.Field
		e.Message = name + "." + e.Message
		f.errors = append(f.errors, e)
	}
}

// allowSingleStop makes a single stop sequence a list of one.
func (f *fields) allowSingleStop(name string) {
	if text, ok := f.values[name].(string); ok {
		f.values[name] = []any{text}
	}
}

// allowSignedSeed takes a negative seed for the unsigned one with the same 64 bits, and tells whether it did.
func (f *fields) allowSignedSeed(name string) bool {
	number, ok := f.values[name].(json.Number)
	n, err := strconv.ParseInt(string(number), 10, 64)
	if !ok || err != nil || n >= 0 {
		return false
	}
	f.values[name] = json.Number(strconv.FormatUint(uint64(n), 10))
	return true
}

func fieldProblem(field, constraint, message string) *problem.Problem {
	return &problem.Problem{Code: problem.InvalidRequest, Message: fmt.Sprintf("%s: %s", field, message), Errors: []problem.Field{{
		Field: field, Constraint: constraint, Message: message}}}
}
