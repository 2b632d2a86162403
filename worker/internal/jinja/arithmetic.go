package jinja

import (
	"errors"
	"html"
	"math"
	"math/bits"
)

func (n *binaryNode) eval(r *run, s *scope) (value, error) {
	left, err := r.value(n.left, s)
	if err != nil {
		return nil, err
	}
	right, err := r.value(n.right, s)
	if err != nil {
		return nil, err
	}
	return r.binary(n.operator, left, right)
}

var (
	errDivision = errors.New("division by zero")
	errOverflow = errors.New("a number is too large")
)

// binary is one of Python's operators + - * / // % **.
func (r *run) binary(operator string, left, right value) (value, error) {
	if x, y, ok := integers2(left, right); ok && operator != "/" && (operator != "**" || y >= 0) {
		return integerOperation(operator, x, y)
	}
	if x, y, ok := floats2(left, right); ok {
		return floatOperation(operator, x, y)
	}
	switch l := left.(type) {
	case text:
		if right, ok := right.(text); ok && operator == "+" {
			sum := added(l, right)
			return sum, r.makes(len(sum.s))
		}
		if operator == "%" {
			return r.percentFormat(l, right)
		}
	case *list:
		if right, ok := right.(*list); ok && operator == "+" && l.kind == right.kind && l.kind <= tupleKind {
			if err := r.makes(valueBytes * (len(l.items) + len(right.items))); err != nil {
				return nil, err
			}
			return &list{items: append(append([]value{}, l.items...), right.items...), kind: l.kind}, nil
		}
	}
	if operator == "*" {
		if count, ok := integer(right); ok {
			return r.repeated(left, count)
		}
		if count, ok := integer(left); ok {
			return r.repeated(right, count)
		}
	}
	return nil, operandError(operator, left, right)
}

// added puts two texts together; if one of them is markup, the other is escaped.
func added(left, right text) text {
	if left.markup == right.markup {
		sum := concat(left, right)
		sum.markup = left.markup
		return sum
	}
	if left.markup {
		right = right.rewrite(html.EscapeString)
	} else {
		left = left.rewrite(html.EscapeString)
	}
	sum := concat(left, right)
	sum.markup = true
	return sum
}

func (r *run) repeated(v value, count int64) (value, error) {
	count = max(count, 0)
	switch v := v.(type) {
	case text:
		if err := r.makesTimes(len(v.s), count); err != nil {
			return nil, err
		}
		var b builder
		for range count {
			b.write(v)
		}
		return b.text(), nil
	case *list:
		if v.kind > tupleKind {
			break
		}
		if err := r.makesTimes(valueBytes*len(v.items), count); err != nil {
			return nil, err
		}
		repeated := &list{kind: v.kind}
		for range count {
			repeated.items = append(repeated.items, v.items...)
		}
		return repeated, nil
	}
	return nil, operandError("*", v, count)
}

// makesTimes counts count pieces of size bytes each; an empty piece counts as a byte, for the time it takes.
func (r *run) makesTimes(size int, count int64) error {
	if count > maxBytes {
		return r.makes(maxBytes + 1)
	}
	return r.makes(max(size, 1) * int(count))
}

func integerOperation(operator string, x, y int64) (value, error) {
	switch operator {
	case "+":
		if sum := x + y; (sum > x) == (y > 0) {
			return sum, nil
		}
		return nil, errOverflow
	case "-":
		if difference := x - y; (difference < x) == (y > 0) {
			return difference, nil
		}
		return nil, errOverflow
	case "*":
		return product(x, y)
	case "**":
		result := int64(1)
		for range min(y, 64) {
			v, err := product(result, x)
			if err != nil {
				return nil, err
			}
			result = v.(int64)
		}
		if y > 64 && (x > 1 || x < -1) {
			return nil, errOverflow
		}
		if x == -1 && y%2 != 0 {
			result = -1
		}
		return result, nil
	}
	if y == 0 {
		return nil, errDivision
	}
	quotient, rest := x/y, x%y
	if rest != 0 && (rest < 0) != (y < 0) { // Python rounds down
		quotient, rest = quotient-1, rest+y
	}
	if operator == "%" {
		return rest, nil
	}
	return quotient, nil
}

func product(x, y int64) (value, error) {
	magnitude := func(n int64) uint64 {
		if n < 0 {
			return -uint64(n)
		}
		return uint64(n)
	}
	high, low := bits.Mul64(magnitude(x), magnitude(y))
	if high != 0 || low > math.MaxInt64 {
		return nil, errOverflow
	}
	return x * y, nil
}

func floatOperation(operator string, x, y float64) (value, error) {
	switch operator {
	case "+":
		return x + y, nil
	case "-":
		return x - y, nil
	case "*":
		return x * y, nil
	case "**":
		power := math.Pow(x, y)
		if math.IsInf(power, 0) && !math.IsInf(x, 0) && !math.IsInf(y, 0) {
			return nil, errOverflow
		}
		return power, nil
	}
	if y == 0 {
		return nil, errDivision
	}
	switch operator {
	case "/":
		return x / y, nil
	case "//":
		return math.Floor(x / y), nil
	}
	rest := math.Mod(x, y)
	if rest == 0 {
		return math.Copysign(0, y), nil
	}
	if (rest < 0) != (y < 0) {
		rest += y
	}
	return rest, nil
}
