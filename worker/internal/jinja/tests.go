package jinja

import "strings"

func testTable() map[string]filter {
	return map[string]filter{
		"defined":   kindTest(func(v value) bool { _, ok := v.(*undefined); return !ok }),
		"undefined": kindTest(func(v value) bool { _, ok := v.(*undefined); return ok }),
		"none":      kindTest(func(v value) bool { return v == nil }),
		"boolean":   kindTest(func(v value) bool { _, ok := v.(bool); return ok }),
		"true":      kindTest(func(v value) bool { return v == true }),
		"false":     kindTest(func(v value) bool { return v == false }),
		"string":    kindTest(func(v value) bool { _, ok := v.(text); return ok }),
		"number":    kindTest(func(v value) bool { return typeName(v) == "int" || typeName(v) == "float" || typeName(v) == "bool" }),
		"integer":   kindTest(func(v value) bool { return typeName(v) == "int" }),
		"float":     kindTest(func(v value) bool { return typeName(v) == "float" }),
		"mapping":   kindTest(func(v value) bool { _, ok := v.(*dict); return ok }),
		"callable": kindTest(func(v value) bool {
			switch v.(type) {
			case *function, *loop, *undefined:
				return true
			}
			return false
		}),
		"sequence": kindTest(func(v value) bool {
			l, isList := v.(*list)
			_, err := length(v)
			return err == nil && (!isList || l.kind != viewKind)
		}),
		"iterable": kindTest(func(v value) bool {
			_, isGenerator := v.(*generator)
			_, err := length(v)
			return isGenerator || err == nil
		}),
		"upper":   textTest(func(s string) bool { return strings.ToUpper(s) == s && strings.ToLower(s) != s }),
		"lower":   textTest(func(s string) bool { return strings.ToLower(s) == s && strings.ToUpper(s) != s }),
		"escaped": kindTest(func(value) bool { return false }),
		"odd":     parityTest(1),
		"even":    parityTest(0),
		"divisibleby": func(r *run, input value, a args) (value, error) {
			v, err := a.bind("divisibleby", "num")
			if err != nil {
				return nil, err
			}
			if _, _, ok := floats2(input, v[0]); !ok {
				return nil, operandError("divisibleby", input, v[0])
			}
			rest, err := r.binary("%", input, v[0])
			return err == nil && r.equal(rest, int64(0)), err
		},
		"sameas": func(r *run, input value, a args) (value, error) {
			v, err := a.bind("sameas", "other")
			if err != nil {
				return nil, err
			}
			return typeName(input) == typeName(v[0]) && r.equal(input, v[0]), nil
		},
		"in": func(r *run, input value, a args) (value, error) {
			v, err := a.bind("in", "seq")
			if err != nil {
				return nil, err
			}
			return r.contains(v[0], input)
		},
		"filter": func(r *run, input value, a args) (value, error) {
			_, err := a.bind("filter")
			return r.library.filters[r.str(input).s] != nil, err
		},
		"eq": compareTest("=="), "==": compareTest("=="), "equalto": compareTest("=="),
		"ne": compareTest("!="), "!=": compareTest("!="),
		"lt": compareTest("<"), "<": compareTest("<"), "lessthan": compareTest("<"),
		"le": compareTest("<="), "<=": compareTest("<="),
		"gt": compareTest(">"), ">": compareTest(">"), "greaterthan": compareTest(">"),
		"ge": compareTest(">="), ">=": compareTest(">="),
	}
}

func kindTest(is func(v value) bool) filter {
	return func(_ *run, input value, a args) (value, error) {
		_, err := a.bind("the test")
		return is(input), err
	}
}

func textTest(is func(s string) bool) filter {
	return func(r *run, input value, a args) (value, error) {
		_, err := a.bind("the test")
		return is(r.str(input).s), err
	}
}

func parityTest(rest int64) filter {
	return func(r *run, input value, a args) (value, error) {
		if _, err := a.bind("the test"); err != nil {
			return nil, err
		}
		if _, ok := number(input); !ok {
			return nil, operandError("the test", input)
		}
		left, err := r.binary("%", input, int64(2))
		return r.equal(left, rest), err
	}
}

func compareTest(operator string) filter {
	return func(r *run, input value, a args) (value, error) {
		v, err := a.bind("the test", "other")
		if err != nil {
			return nil, err
		}
		return r.compare(operator, input, v[0])
	}
}
