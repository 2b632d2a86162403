package jinja

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

func absFilter(_ *run, input value, a args) (value, error) {
	if _, err := a.bind("abs"); err != nil {
		return nil, err
	}
	if x, ok := input.(float64); ok {
		return math.Abs(x), nil
	}
	if n, ok := integer(input); ok {
		return max(n, -n), nil
	}
	return nil, operandError("abs", input)
}

func roundFilter(_ *run, input value, a args) (value, error) {
	v, err := a.bind("round", "precision?", "method?")
	if err != nil {
		return nil, err
	}
	x, ok := number(input)
	if !ok {
		return nil, operandError("round", input)
	}
	precision, err := integerArgument(given(v[0], int64(0)), "precision")
	if err != nil {
		return nil, err
	}
	method, err := textArgument(given(v[1], plain("common")), "method")
	if err != nil {
		return nil, err
	}
	scale := math.Pow(10, float64(precision))
	switch method.s {
	case "common":
		if _, isFloat := input.(float64); !isFloat && precision >= 0 {
			n, _ := integer(input)
			return n, nil
		}
		if precision < 0 {
			return math.RoundToEven(x*scale) / scale, nil
		}
		rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'f', min(precision, 300), 64), 64)
		return rounded, err
	case "ceil":
		return math.Ceil(x*scale) / scale, nil
	case "floor":
		return math.Floor(x*scale) / scale, nil
	}
	return nil, errors.New("method must be common, ceil or floor")
}

func intFilter(_ *run, input value, a args) (value, error) {
	v, err := a.bind("int", "default?", "base?")
	if err != nil {
		return nil, err
	}
	fallback := given(v[0], int64(0))
	switch input := input.(type) {
	case *undefined:
		return nil, input.err()
	case float64:
		if math.Abs(input) < 1<<62 {
			return int64(input), nil
		}
	case text:
		base, err := integerArgument(given(v[1], int64(10)), "base")
		if err != nil || base < 2 || base > 36 {
			return nil, errors.New("base must be 2 to 36")
		}
		digits := strings.ToLower(strings.TrimFunc(input.s, isSpace))
		if prefix, ok := map[int]string{2: "0b", 8: "0o", 16: "0x"}[base]; ok {
			digits = strings.TrimPrefix(digits, prefix)
		}
		if n, err := strconv.ParseInt(digits, base, 64); err == nil {
			return n, nil
		}
		if x, err := strconv.ParseFloat(digits, 64); err == nil && math.Abs(x) < 1<<62 {
			return int64(x), nil
		}
	default:
		if n, ok := integer(input); ok {
			return n, nil
		}
	}
	return fallback, nil
}

func floatFilter(_ *run, input value, a args) (value, error) {
	v, err := a.bind("float", "default?")
	if err != nil {
		return nil, err
	}
	switch input := input.(type) {
	case *undefined:
		return nil, input.err()
	case text:
		if x, err := strconv.ParseFloat(strings.TrimFunc(input.s, isSpace), 64); err == nil {
			return x, nil
		}
	default:
		if x, ok := number(input); ok {
			return x, nil
		}
	}
	return given(v[0], 0.0), nil
}
