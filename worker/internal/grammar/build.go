package grammar

import "unicode/utf8"

// builder makes nodes; each method gives the first node of a piece that leads to next.
type builder struct{ count int }

func (b *builder) node(n node) *node {
	n.id = b.count
	b.count++
	return &n
}

// end makes a node that ends a rule.
func (b *builder) end() *node { return b.node(node{}) }

func (b *builder) bytes(low, high byte, next *node) *node {
	return b.node(node{edges: []edge{{low, high, next}}})
}

// either goes on at any of several nodes.
func (b *builder) either(nodes ...*node) *node { return b.node(node{split: nodes}) }

// text reads exactly s.
func (b *builder) text(s string, next *node) *node {
	for i := len(s) - 1; i >= 0; i-- {
		next = b.bytes(s[i], s[i], next)
	}
	return next
}

func (b *builder) call(r *rule, next *node) *node { return b.node(node{call: r, next: next}) }

// loop reads what body makes any number of times.
func (b *builder) loop(body func(next *node) *node, next *node) *node {
	again := b.node(node{})
	again.split = []*node{body(again), next}
	return again
}

// repeat reads what body makes least to most times; most < 0 is any number from least on.
func (b *builder) repeat(body func(next *node) *node, least, most int, next *node) *node {
	at := next
	if most < 0 {
		at = b.loop(body, next)
	} else {
		for range most - least {
			at = b.either(body(at), next)
		}
	}
	for range least {
		at = body(at)
	}
	return at
}

// space reads nothing, a space, or a new line with an indent: an answer cannot consist of white space for ever.
func (b *builder) space(next *node) *node {
	const deepest = 16
	line := b.bytes('\n', '\n', b.repeat(func(next *node) *node { return b.bytes(' ', ' ', next) }, 0, deepest, next))
	return b.either(next, b.bytes(' ', ' ', next), line)
}

// character reads one character of a JSON string, escaped or not: UTF-8 as in RFC 3629, surrogates in pairs.
func (b *builder) character(next *node) *node {
	tail := func(next *node) *node { return b.bytes(0x80, 0xbf, next) }
	hex := func(next *node) *node {
		return b.node(node{edges: []edge{{'0', '9', next}, {'a', 'f', next}, {'A', 'F', next}}})
	}
	escape := b.node(node{})
	for _, c := range []byte(`"\/bfnrt`) {
		escape.edges = append(escape.edges, edge{c, c, next})
	}
	low := b.text(`\u`, b.node(node{edges: []edge{{'d', 'd', b.surrogate("cdefCDEF", hex, next)}, {'D', 'D', b.surrogate("cdefCDEF", hex, next)}}}))
	d := b.either(b.surrogate("01234567", hex, next), b.surrogate("89abAB", hex, low))
	three := hex(hex(hex(next)))
	escape.edges = append(escape.edges, edge{'u', 'u', b.node(node{edges: []edge{
		{'0', '9', three}, {'a', 'c', three}, {'e', 'f', three}, {'A', 'C', three}, {'E', 'F', three}, {'d', 'd', d}, {'D', 'D', d},
	}})})
	return b.node(node{edges: []edge{
		{' ', '!', next}, {'#', '[', next}, {']', 0x7f, next}, {'\\', '\\', escape},
		{0xc2, 0xdf, tail(next)},
		{0xe0, 0xe0, b.bytes(0xa0, 0xbf, tail(next))}, {0xe1, 0xec, tail(tail(next))},
		{0xed, 0xed, b.bytes(0x80, 0x9f, tail(next))}, {0xee, 0xef, tail(tail(next))},
		{0xf0, 0xf0, b.bytes(0x90, 0xbf, tail(tail(next)))}, {0xf1, 0xf3, tail(tail(tail(next)))},
		{0xf4, 0xf4, b.bytes(0x80, 0x8f, tail(tail(next)))},
	}})
}

// surrogate reads the rest of an escaped surrogate after its d: one of the digits and two more.
func (b *builder) surrogate(digits string, hex func(*node) *node, next *node) *node {
	rest := hex(hex(next))
	n := b.node(node{})
	for _, c := range []byte(digits) {
		n.edges = append(n.edges, edge{c, c, rest})
	}
	return n
}

// str reads a string of least to most characters.
func (b *builder) str(least, most int, next *node) *node {
	return b.bytes('"', '"', b.repeat(b.character, least, most, b.bytes('"', '"', next)))
}

func (b *builder) digits(next *node) *node {
	digit := func(next *node) *node { return b.bytes('0', '9', next) }
	return digit(b.repeat(digit, 0, 15, next))
}

// number reads a number of a moderate number of digits.
func (b *builder) number(integer bool, next *node) *node {
	after := next
	if !integer {
		exponent := b.node(node{})
		digits := b.digits(next)
		sign := b.node(node{edges: []edge{{'+', '+', digits}, {'-', '-', digits}}})
		exponent.edges = []edge{{'e', 'e', b.either(sign, b.repeat(func(n *node) *node { return b.bytes('0', '9', n) }, 1, 2, next))}}
		exponent.edges = append(exponent.edges, edge{'E', 'E', exponent.edges[0].to})
		fraction := b.bytes('.', '.', b.digits(b.either(exponent, next)))
		after = b.either(fraction, exponent, next)
	}
	digit := func(next *node) *node { return b.bytes('0', '9', next) }
	whole := b.node(node{edges: []edge{{'0', '0', after}, {'1', '9', b.repeat(digit, 0, 14, after)}}})
	return b.either(b.bytes('-', '-', whole), whole)
}

// jsonString writes a string as JSON does, with escapes only where they must be.
func jsonString(s string) string {
	out := []byte{'"'}
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			out = append(out, '\\', byte(r))
		case r < ' ':
			const hex = "0123456789abcdef"
			out = append(out, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			out = utf8.AppendRune(out, r)
		}
	}
	return string(append(out, '"'))
}
