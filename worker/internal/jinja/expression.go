package jinja

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// tuple reads an expression, or several separated by commas as a tuple. Without conditional, `a if b` is not read here.
func (p *parser) tuple(conditional bool) (expression, error) {
	one := p.expression
	if !conditional {
		one = p.or
	}
	var items []expression
	for comma := false; ; comma = true {
		if t := p.peek(); t.kind == tokenPrintEnd || t.kind == tokenTagEnd || p.is(")") {
			if len(items) == 0 {
				return nil, p.unexpected()
			}
			return &listNode{items, tupleKind}, nil
		}
		item, err := one()
		if err != nil {
			return nil, err
		}
		if !p.skipIf(",") {
			if !comma {
				return item, nil
			}
			return &listNode{append(items, item), tupleKind}, nil
		}
		items = append(items, item)
	}
}

// expression reads a whole expression: a or b if c else d.
func (p *parser) expression() (expression, error) {
	defer p.leave()
	if err := p.nest(); err != nil {
		return nil, err
	}
	value, err := p.or()
	for length := 0; err == nil && p.skipIf("if"); length++ {
		if err := p.chained(length); err != nil {
			return nil, err
		}
		node := &conditionalNode{then: value}
		if node.condition, err = p.or(); err != nil {
			return nil, err
		}
		if p.skipIf("else") {
			defer p.within(true)()
			if node.otherwise, err = p.expression(); err != nil {
				return nil, err
			}
		}
		value = node
	}
	return value, err
}

func (p *parser) or() (expression, error) { return p.logic("or", p.and) }

func (p *parser) and() (expression, error) { return p.logic("and", p.not) }

func (p *parser) logic(operator string, operand func() (expression, error)) (expression, error) {
	left, err := operand()
	for length := 0; err == nil && p.skipIf(operator); length++ {
		var right expression
		if right, err = operand(); err == nil {
			err = p.chained(length)
		}
		left = &logicNode{operator == "or", left, right}
	}
	return left, err
}

func (p *parser) not() (expression, error) {
	if !p.is("not") {
		return p.compare()
	}
	defer p.leave()
	if err := p.nest(); err != nil {
		return nil, err
	}
	p.at++
	operand, err := p.not()
	return &unaryNode{"not", operand}, err
}

func (p *parser) compare() (expression, error) {
	left, err := p.sum()
	if err != nil {
		return nil, err
	}
	var chain []comparison
	for {
		operator := p.peek().text
		switch {
		case p.peek().kind == tokenOperator && slices.Contains([]string{"==", "!=", "<", "<=", ">", ">="}, operator), p.is("in"):
			p.at++
		case p.is("not") && p.tokens[p.at+1].kind == tokenName && p.tokens[p.at+1].text == "in":
			p.at += 2
			operator = "not in"
		default:
			if chain == nil {
				return left, nil
			}
			return &compareNode{left, chain}, nil
		}
		right, err := p.sum()
		if err != nil {
			return nil, err
		}
		chain = append(chain, comparison{operator, right})
	}
}

// binary reads operands with operators of one rank between them.
func (p *parser) binary(operand func() (expression, error), wanted ...string) (expression, error) {
	left, err := operand()
	for length := 0; err == nil && p.peek().kind == tokenOperator && slices.Contains(wanted, p.peek().text); length++ {
		operator := p.next().text
		var right expression
		if right, err = operand(); err == nil {
			err = p.chained(length)
		}
		left = &binaryNode{operator, left, right}
	}
	return left, err
}

func (p *parser) sum() (expression, error) { return p.binary(p.concat, "+", "-") }

func (p *parser) concat() (expression, error) {
	first, err := p.product()
	if err != nil || !p.is("~") {
		return first, err
	}
	parts := []expression{first}
	for p.skipIf("~") {
		part, err := p.product()
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return &concatNode{parts}, nil
}

func (p *parser) product() (expression, error) { return p.binary(p.power, "*", "/", "//", "%") }

func (p *parser) power() (expression, error) {
	return p.binary(func() (expression, error) { return p.unary(true) }, "**")
}

func (p *parser) unary(withFilters bool) (expression, error) {
	defer p.leave()
	if err := p.nest(); err != nil {
		return nil, err
	}
	if p.is("-") || p.is("+") {
		operator := p.next().text
		operand, err := p.unary(false)
		node := expression(&unaryNode{operator, operand})
		if err == nil && withFilters {
			node, err = p.filters(node)
		}
		return node, err
	}
	node, err := p.primary()
	if err == nil {
		node, err = p.postfix(node)
	}
	if err == nil && withFilters {
		node, err = p.filters(node)
	}
	return node, err
}

func (p *parser) primary() (expression, error) {
	switch t := p.next(); {
	case t.kind == tokenName:
		switch t.text {
		case "true", "True":
			return &literal{true}, nil
		case "false", "False":
			return &literal{false}, nil
		case "none", "None":
			return &literal{nil}, nil
		}
		for _, macro := range p.macros {
			macro.uses[t.text] = true
		}
		return &nameNode{t.text}, nil
	case t.kind == tokenString:
		s, err := unescape(t.text)
		for err == nil && p.peek().kind == tokenString {
			var more string
			more, err = unescape(p.next().text)
			s += more
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", t.line, err)
		}
		return &literal{plain(s)}, nil
	case t.kind == tokenInteger:
		n, ok := new(big.Int).SetString(strings.ReplaceAll(strings.ToLower(t.text), "_", ""), 0)
		if !ok || !n.IsInt64() {
			return nil, fmt.Errorf("line %d: the number %.30s is not supported", t.line, t.text)
		}
		return &literal{n.Int64()}, nil
	case t.kind == tokenFloat:
		x, err := strconv.ParseFloat(strings.ReplaceAll(t.text, "_", ""), 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: the number %.30s is not supported", t.line, t.text)
		}
		return &literal{x}, nil
	case t.kind == tokenOperator && t.text == "(":
		if p.skipIf(")") {
			return &listNode{nil, tupleKind}, nil
		}
		inner, err := p.tuple(true)
		if err != nil {
			return nil, err
		}
		return inner, p.expect(")")
	case t.kind == tokenOperator && t.text == "[":
		items, err := p.commaSeparated("]", p.expression)
		return &listNode{items, plainList}, err
	case t.kind == tokenOperator && t.text == "{":
		node := &dictNode{}
		var err error
		node.values, err = p.commaSeparated("}", func() (expression, error) {
			key, err := p.expression()
			if err != nil {
				return nil, err
			}
			node.keys = append(node.keys, key)
			if err := p.expect(":"); err != nil {
				return nil, err
			}
			return p.expression()
		})
		return node, err
	case t.kind != tokenEnd:
		p.at--
	}
	return nil, p.unexpected()
}

// commaSeparated reads items up to an end, which may follow a comma.
func (p *parser) commaSeparated(end string, item func() (expression, error)) ([]expression, error) {
	var items []expression
	for !p.skipIf(end) {
		if len(items) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
			if p.skipIf(end) {
				break
			}
		}
		next, err := item()
		if err != nil {
			return nil, err
		}
		items = append(items, next)
	}
	return items, nil
}

// postfix reads attributes, items and calls.
func (p *parser) postfix(node expression) (expression, error) {
	for length := 0; ; length++ {
		err := p.chained(length)
		if err != nil {
			return nil, err
		}
		switch {
		case p.skipIf("."):
			switch t := p.next(); t.kind {
			case tokenName:
				node = &attributeNode{node, t.text}
			case tokenInteger:
				n, _ := strconv.ParseInt(t.text, 10, 64)
				node = &itemNode{node, &literal{n}}
			default:
				p.at--
				return nil, p.unexpected()
			}
		case p.skipIf("["):
			node, err = p.subscript(node)
		case p.is("("):
			node, err = p.call(node)
		default:
			return node, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// subscript reads an item or a slice from after the bracket on.
func (p *parser) subscript(object expression) (expression, error) {
	var bounds [3]expression
	colons := 0
	for !p.skipIf("]") {
		switch {
		case p.skipIf(":"):
			if colons++; colons > 2 {
				return nil, p.unexpected()
			}
		case bounds[colons] != nil:
			return nil, p.unexpected()
		default:
			var err error
			if bounds[colons], err = p.expression(); err != nil {
				return nil, err
			}
		}
	}
	if colons > 0 {
		return &sliceNode{object, bounds[0], bounds[1], bounds[2]}, nil
	}
	if bounds[0] == nil {
		return nil, p.unexpected()
	}
	return &itemNode{object, bounds[0]}, nil
}

// unescape reads the escapes of a string as Python does.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if c, ok := simpleEscapes[s[i]]; ok {
			b.WriteString(c)
			continue
		}
		digits, ok := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
		switch {
		case ok:
			code, err := strconv.ParseUint(s[i+1:min(len(s), i+1+digits)], 16, 32)
			if err != nil || i+digits >= len(s) {
				return "", fmt.Errorf("a bad escape in a string")
			}
			b.WriteRune(rune(code))
			i += digits
		case s[i] >= '0' && s[i] <= '7':
			end := i
			for end < len(s) && end < i+3 && s[end] >= '0' && s[end] <= '7' {
				end++
			}
			code, _ := strconv.ParseUint(s[i:end], 8, 32)
			b.WriteRune(rune(code))
			i = end - 1
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

var simpleEscapes = map[byte]string{
	'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}
