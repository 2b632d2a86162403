package jinja

// expression is a part of a template that has a value.
type expression interface {
	eval(r *run, s *scope) (value, error)
}

// statement is a part of a template that writes or changes something.
type statement interface {
	exec(r *run, s *scope) error
}

type (
	literal  struct{ value value }
	nameNode struct{ name string }
	listNode struct {
		items []expression
		kind  listKind
	}
	dictNode  struct{ keys, values []expression }
	unaryNode struct {
		operator string // "-", "+", "not"
		operand  expression
	}
	binaryNode struct {
		operator    string
		left, right expression
	}
	logicNode struct {
		or          bool
		left, right expression
	}
	comparison struct {
		operator string // also "in" and "not in"
		right    expression
	}
	compareNode struct {
		left  expression
		chain []comparison
	}
	concatNode      struct{ parts []expression }
	conditionalNode struct{ condition, then, otherwise expression } // otherwise may be nil
	attributeNode   struct {
		object expression
		name   string
	}
	itemNode  struct{ object, key expression }
	sliceNode struct{ object, start, stop, step expression } // each bound may be nil
	callNode  struct {
		callee    expression
		arguments arguments
	}
	filterNode struct {
		input     expression // nil in a filter of a block
		name      string
		apply     filter // nil if there is none of this name
		arguments arguments
	}
	testNode struct {
		input     expression
		name      string
		negated   bool
		check     filter // nil if there is none of this name
		arguments arguments
	}
)

// arguments are those of a call, as written.
type arguments struct {
	positional []expression
	names      []string // of the named ones
	named      []expression
	list, dict expression // *args and **kwargs, or nil
}

type (
	textNode  struct{ text text }
	printNode struct{ value expression }
	ifNode    struct {
		conditions []expression
		bodies     [][]statement
		otherwise  []statement
	}
	forNode struct {
		target    target
		list      expression
		condition expression // nil if there is none
		body      []statement
		otherwise []statement
		recursive bool
	}
	setNode struct {
		target target
		value  expression
	}
	setBlockNode struct {
		target target
		filter *filterNode // nil if there is none
		body   []statement
	}
	macroNode struct {
		name       string
		parameters []string
		defaults   []expression // of the last parameters
		body       []statement
		uses       map[string]bool // names that its body mentions
	}
	callBlockNode struct {
		call   *callNode
		caller macroNode
	}
	filterBlockNode struct {
		filter *filterNode
		body   []statement
	}
	withNode struct {
		targets []target
		values  []expression
		body    []statement
	}
	scopeNode   struct{ body []statement } // generation
	loopControl struct{ err error }        // break, continue
)

// target is what a value is assigned to: a name, an attribute of a namespace, or several of these.
type target struct {
	name      string
	attribute string
	parts     []target // not nil if several
}
