package jinja

import (
	"fmt"
	"slices"
)

// call reads the arguments of a call. A method of Python that is missing here is refused now and not when it is called.
func (p *parser) call(callee expression) (expression, error) {
	line := p.peek().line
	arguments, err := p.arguments()
	if err != nil {
		return nil, err
	}
	switch callee := callee.(type) {
	case *attributeNode:
		if slices.Contains(missingMethods, callee.name) {
			return nil, fmt.Errorf("line %d: the method %s() is not supported", line, callee.name)
		}
	case *nameNode:
		if slices.Contains(missingFunctions, callee.name) {
			return nil, fmt.Errorf("line %d: the function %s() is not supported", line, callee.name)
		}
	}
	return &callNode{callee, arguments}, nil
}

func (p *parser) arguments() (arguments, error) {
	var a arguments
	if err := p.expect("("); err != nil {
		return a, err
	}
	for first := true; !p.skipIf(")"); first = false {
		if !first {
			if err := p.expect(","); err != nil {
				return a, err
			}
			if p.skipIf(")") {
				break
			}
		}
		var err error
		switch next := p.tokens[min(p.at+1, len(p.tokens)-1)]; {
		case p.skipIf("*"):
			a.list, err = p.expression()
		case p.skipIf("**"):
			a.dict, err = p.expression()
		case p.peek().kind == tokenName && next.kind == tokenOperator && next.text == "=":
			a.names = append(a.names, p.next().text)
			p.at++
			var value expression
			value, err = p.expression()
			a.named = append(a.named, value)
		case len(a.named) > 0 || a.dict != nil:
			return a, fmt.Errorf("line %d: an argument follows a named one", p.peek().line)
		default:
			var value expression
			value, err = p.expression()
			a.positional = append(a.positional, value)
		}
		if err != nil {
			return a, err
		}
	}
	return a, nil
}

// filters reads filters, tests and calls after an expression.
func (p *parser) filters(node expression) (expression, error) {
	for length := 0; ; length++ {
		err := p.chained(length)
		if err != nil {
			return nil, err
		}
		switch {
		case p.skipIf("|"):
			node, err = p.filterOf(node)
		case p.peek().kind == tokenName && p.is("is"):
			p.at++
			node, err = p.testOf(node)
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

// filterOf reads a filter from its name on.
func (p *parser) filterOf(input expression) (*filterNode, error) {
	line := p.peek().line
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	node := &filterNode{input: input, name: name, apply: p.library.filters[name]}
	if node.apply == nil && (!p.conditional || slices.Contains(missingFilters, name)) {
		return nil, fmt.Errorf("line %d: the filter %.40q is not supported", line, name)
	}
	if p.is("(") {
		node.arguments, err = p.arguments()
	}
	return node, err
}

// testOf reads a test from its name on; a test may have one argument without parentheses.
func (p *parser) testOf(input expression) (expression, error) {
	node := &testNode{input: input, negated: p.skipIf("not")}
	line := p.peek().line
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	node.name = name
	if node.check = p.library.tests[name]; node.check == nil && !p.conditional {
		return nil, fmt.Errorf("line %d: the test %.40q is not supported", line, name)
	}
	switch t := p.peek(); {
	case p.is("("):
		node.arguments, err = p.arguments()
	case t.kind == tokenName && !slices.Contains([]string{"else", "or", "and", "is", "in", "if", "not", "recursive"}, t.text),
		t.kind == tokenString, t.kind == tokenInteger, t.kind == tokenFloat, p.is("["), p.is("{"):
		var argument expression
		if argument, err = p.primary(); err == nil {
			argument, err = p.postfix(argument)
		}
		node.arguments.positional = []expression{argument}
	}
	return node, err
}
