package jinja

import (
	"errors"
	"fmt"
	"slices"
)

// Limits of a template's source.
const (
	maxSourceBytes = 256 << 10 // public templates have up to 30 KiB
	maxNesting     = 100       // statements and expressions within another
	maxChain       = 500       // operators, attributes or filters one after another, each of which holds what is before it
)

// parser turns tokens into statements.
type parser struct {
	library *library
	tokens  []token
	at      int
	depth   int
	loops   int // loops around, for break and continue
	// conditional is set directly inside of an if: there Jinja2 takes unknown filters and tests, which fail when they are used.
	conditional bool
	macros      []*macroNode // whose bodies are being read
}

func parse(source string, library *library) ([]statement, error) {
	if len(source) > maxSourceBytes {
		return nil, fmt.Errorf("it has %d bytes; at most %d are read", len(source), maxSourceBytes)
	}
	tokens, err := lex(source)
	if err != nil {
		return nil, err
	}
	p := &parser{library: library, tokens: tokens}
	body, err := p.body()
	if err == nil && p.peek().kind != tokenEnd {
		err = p.unexpected()
	}
	return body, err
}

func (p *parser) peek() token { return p.tokens[p.at] }

func (p *parser) next() token {
	t := p.tokens[p.at]
	if t.kind != tokenEnd {
		p.at++
	}
	return t
}

// is tells whether the next token is this operator or name.
func (p *parser) is(text string) bool {
	t := p.peek()
	return (t.kind == tokenOperator || t.kind == tokenName) && t.text == text
}

// skipIf takes the next token if it is this operator or name.
func (p *parser) skipIf(text string) bool {
	if p.is(text) {
		p.at++
		return true
	}
	return false
}

func (p *parser) expect(text string) error {
	if !p.skipIf(text) {
		return fmt.Errorf("line %d: %q is missing", p.peek().line, text)
	}
	return nil
}

func (p *parser) name() (string, error) {
	t := p.next()
	if t.kind != tokenName {
		return "", fmt.Errorf("line %d: a name is missing", t.line)
	}
	return t.text, nil
}

func (p *parser) unexpected() error {
	t := p.peek()
	if t.kind == tokenEnd {
		return errors.New("the template ends too soon")
	}
	return fmt.Errorf("line %d: unexpected %.20q", t.line, t.text)
}

// nest goes one level deeper; the caller must call leave.
func (p *parser) nest() error {
	if p.depth++; p.depth > maxNesting {
		return fmt.Errorf("line %d: more than %d levels are nested", p.peek().line, maxNesting)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

// within sets conditional until the function that it returns is called.
func (p *parser) within(conditional bool) (restore func()) {
	before := p.conditional
	p.conditional = conditional
	return func() { p.conditional = before }
}

// chained bounds how many parts of an expression hold each other.
func (p *parser) chained(length int) error {
	if length > maxChain {
		return fmt.Errorf("line %d: an expression has more than %d parts in a row", p.peek().line, maxChain)
	}
	return nil
}

// body reads statements up to a tag with one of the names, whose name is the next token then; without names to the end.
func (p *parser) body(ends ...string) ([]statement, error) {
	defer p.leave()
	if err := p.nest(); err != nil {
		return nil, err
	}
	var body []statement
	for {
		switch t := p.peek(); t.kind {
		case tokenEnd:
			if len(ends) > 0 {
				return nil, fmt.Errorf("%s is missing at the end", ends[len(ends)-1])
			}
			return body, nil
		case tokenText:
			p.at++
			body = append(body, &textNode{plain(t.text)})
		case tokenPrintBegin:
			p.at++
			value, err := p.tuple(true)
			if err != nil {
				return nil, err
			}
			if p.next().kind != tokenPrintEnd {
				p.at--
				return nil, p.unexpected()
			}
			body = append(body, &printNode{value})
		case tokenTagBegin:
			p.at++
			if slices.Contains(ends, p.peek().text) {
				return body, nil
			}
			node, err := p.statement()
			if err != nil {
				return nil, err
			}
			body = append(body, node)
		default:
			return nil, p.unexpected()
		}
	}
}

// tagEnd takes the end of a tag.
func (p *parser) tagEnd() error {
	if p.peek().kind != tokenTagEnd {
		return p.unexpected()
	}
	p.at++
	return nil
}

// block reads the end of a tag, statements, and the whole tag that ends them.
func (p *parser) block(end string) ([]statement, error) {
	if err := p.tagEnd(); err != nil {
		return nil, err
	}
	body, err := p.body(end)
	if err != nil {
		return nil, err
	}
	p.at++
	return body, p.tagEnd()
}

// statement reads one tag from its name on.
func (p *parser) statement() (statement, error) {
	line := p.peek().line
	tag, err := p.name()
	if err != nil {
		return nil, err
	}
	switch tag {
	case "if":
		return p.ifTag()
	case "for":
		return p.forTag()
	case "set":
		return p.setTag()
	case "macro":
		return p.macroTag()
	case "call":
		return p.callTag()
	case "with":
		return p.withTag()
	case "filter":
		f, err := p.filterOf(nil)
		if err != nil {
			return nil, err
		}
		for length := 0; p.skipIf("|"); length++ {
			if err := p.chained(length); err != nil {
				return nil, err
			}
			if f, err = p.filterOf(f); err != nil {
				return nil, err
			}
		}
		body, err := p.block("endfilter")
		return &filterBlockNode{f, body}, err
	case "generation":
		body, err := p.block("endgeneration")
		return &scopeNode{body}, err
	case "break", "continue":
		if p.loops == 0 {
			return nil, fmt.Errorf("line %d: %s outside of a loop", line, tag)
		}
		control := errBreak
		if tag == "continue" {
			control = errContinue
		}
		return &loopControl{control}, p.tagEnd()
	}
	return nil, fmt.Errorf("line %d: the tag %.40q is not supported", line, tag)
}

func (p *parser) ifTag() (statement, error) {
	defer p.within(true)()
	node := &ifNode{}
	for {
		condition, err := p.tuple(false)
		if err != nil {
			return nil, err
		}
		if err := p.tagEnd(); err != nil {
			return nil, err
		}
		body, err := p.body("elif", "else", "endif")
		if err != nil {
			return nil, err
		}
		node.conditions, node.bodies = append(node.conditions, condition), append(node.bodies, body)
		switch p.next().text {
		case "else":
			node.otherwise, err = p.block("endif")
			return node, err
		case "endif":
			return node, p.tagEnd()
		}
	}
}

func (p *parser) forTag() (statement, error) {
	node := &forNode{}
	var err error
	if node.target, err = p.target(); err != nil {
		return nil, err
	}
	if err := p.expect("in"); err != nil {
		return nil, err
	}
	if node.list, err = p.tuple(false); err != nil {
		return nil, err
	}
	if p.skipIf("if") {
		if node.condition, err = p.expression(); err != nil {
			return nil, err
		}
	}
	node.recursive = p.skipIf("recursive")
	if err := p.tagEnd(); err != nil {
		return nil, err
	}
	p.loops++
	restore := p.within(false)
	node.body, err = p.body("else", "endfor")
	restore()
	p.loops--
	if err != nil {
		return nil, err
	}
	if p.next().text == "else" {
		node.otherwise, err = p.block("endfor")
		return node, err
	}
	return node, p.tagEnd()
}

func (p *parser) setTag() (statement, error) {
	assigned, err := p.target()
	if err != nil {
		return nil, err
	}
	if p.skipIf("=") {
		value, err := p.tuple(true)
		if err != nil {
			return nil, err
		}
		return &setNode{assigned, value}, p.tagEnd()
	}
	node := &setBlockNode{target: assigned}
	for length := 0; p.skipIf("|"); length++ {
		if err := p.chained(length); err != nil {
			return nil, err
		}
		var input expression
		if node.filter != nil {
			input = node.filter
		}
		if node.filter, err = p.filterOf(input); err != nil {
			return nil, err
		}
	}
	node.body, err = p.block("endset")
	return node, err
}

func (p *parser) macroTag() (statement, error) {
	name, err := p.name()
	if err != nil {
		return nil, err
	}
	node := &macroNode{name: name}
	if err := p.signature(node); err != nil {
		return nil, err
	}
	return node, p.macroBody(node, "endmacro")
}

// macroBody reads the body of a macro or a call block: a loop around it is not its own.
func (p *parser) macroBody(node *macroNode, end string) (err error) {
	defer p.within(false)()
	loops := p.loops
	p.loops = 0
	node.uses = map[string]bool{}
	p.macros = append(p.macros, node)
	node.body, err = p.block(end)
	p.macros = p.macros[:len(p.macros)-1]
	p.loops = loops
	return err
}

// signature reads the parameters of a macro.
func (p *parser) signature(node *macroNode) error {
	if err := p.expect("("); err != nil {
		return err
	}
	for !p.skipIf(")") {
		if len(node.parameters) > 0 {
			if err := p.expect(","); err != nil {
				return err
			}
		}
		name, err := p.name()
		if err != nil {
			return err
		}
		node.parameters = append(node.parameters, name)
		if p.skipIf("=") {
			value, err := p.expression()
			if err != nil {
				return err
			}
			node.defaults = append(node.defaults, value)
		} else if len(node.defaults) > 0 {
			return fmt.Errorf("line %d: a parameter without a default follows one with", p.peek().line)
		}
	}
	return nil
}

func (p *parser) callTag() (statement, error) {
	node := &callBlockNode{caller: macroNode{name: "caller"}}
	if p.is("(") {
		if err := p.signature(&node.caller); err != nil {
			return nil, err
		}
	}
	called, err := p.expression()
	if err != nil {
		return nil, err
	}
	call, ok := called.(*callNode)
	if !ok {
		return nil, fmt.Errorf("line %d: a call block needs a call", p.peek().line)
	}
	node.call = call
	return node, p.macroBody(&node.caller, "endcall")
}

func (p *parser) withTag() (statement, error) {
	node := &withNode{}
	for p.peek().kind != tokenTagEnd {
		if len(node.targets) > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		assigned, err := p.target()
		if err != nil {
			return nil, err
		}
		if err := p.expect("="); err != nil {
			return nil, err
		}
		value, err := p.expression()
		if err != nil {
			return nil, err
		}
		node.targets, node.values = append(node.targets, assigned), append(node.values, value)
	}
	body, err := p.block("endwith")
	node.body = body
	return node, err
}

// target reads what is assigned to: names separated by commas, in parentheses or not, or an attribute.
func (p *parser) target() (target, error) {
	first, err := p.oneTarget()
	if err != nil || !p.is(",") {
		return first, err
	}
	several := target{parts: []target{first}}
	for p.skipIf(",") && p.peek().kind == tokenName || p.is("(") {
		if p.is("in") {
			break
		}
		part, err := p.oneTarget()
		if err != nil {
			return target{}, err
		}
		several.parts = append(several.parts, part)
	}
	return several, nil
}

func (p *parser) oneTarget() (target, error) {
	if p.skipIf("(") {
		defer p.leave()
		if err := p.nest(); err != nil {
			return target{}, err
		}
		inner, err := p.target()
		if err != nil {
			return target{}, err
		}
		return inner, p.expect(")")
	}
	name, err := p.name()
	if err != nil {
		return target{}, err
	}
	if p.skipIf(".") {
		attribute, err := p.name()
		return target{name: name, attribute: attribute}, err
	}
	return target{name: name}, nil
}
