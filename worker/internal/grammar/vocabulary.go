package grammar

import (
	"bytes"
	"fmt"
	"slices"
	"sort"
)

// Vocabulary is the tokens of a model as a trie of their bytes. It does not change.
type Vocabulary struct {
	nodes []trieNode
	size  int
	end   []int32 // tokens that end a text
}

// trieNode is a prefix of tokens; its children follow each other from first on.
type trieNode struct {
	b      byte
	first  int32 // index of the first child
	count  int32
	tokens []int32 // whose bytes end here
}

// NewVocabulary makes the trie of size tokens. Tokens without bytes, such as control tokens, never follow; those of end
// follow where the whole may end.
func NewVocabulary(size int, piece func(id int32) []byte, end func(id int32) bool) *Vocabulary {
	v := &Vocabulary{size: size}
	var tokens []namedToken // in order of their bytes: those below a node are a range
	for id := range int32(size) {
		if end(id) {
			v.end = append(v.end, id)
		} else if bytes := piece(id); len(bytes) > 0 {
			tokens = append(tokens, namedToken{bytes, id})
		}
	}
	slices.SortFunc(tokens, func(a, b namedToken) int { return bytes.Compare(a.bytes, b.bytes) })
	v.nodes = []trieNode{{}}
	below := [][]namedToken{tokens} // of each node
	for at, depth, level := 0, 0, 1; at < len(v.nodes); at++ {
		if at == level { // the first node of the next depth
			depth, level = depth+1, len(v.nodes)
		}
		rest := below[at]
		for len(rest) > 0 && len(rest[0].bytes) == depth {
			v.nodes[at].tokens = append(v.nodes[at].tokens, rest[0].id)
			rest = rest[1:]
		}
		v.nodes[at].first = int32(len(v.nodes))
		for len(rest) > 0 {
			b := rest[0].bytes[depth]
			n := sort.Search(len(rest), func(i int) bool { return rest[i].bytes[depth] > b })
			v.nodes, below = append(v.nodes, trieNode{b: b}), append(below, rest[:n])
			v.nodes[at].count++
			rest = rest[n:]
		}
		below[at] = nil
	}
	return v
}

type namedToken struct {
	bytes []byte
	id    int32
}

// Grammar is a compiled schema. It does not change; Start may be called from any goroutine.
type Grammar struct{ top *rule }

// Matcher follows one answer. It belongs to one goroutine.
type Matcher struct {
	automaton  *automaton
	vocabulary *Vocabulary
	state      *state
}

// Start begins an answer.
func (g *Grammar) Start(v *Vocabulary) (*Matcher, error) {
	a, err := newAutomaton(g.top)
	if err != nil {
		return nil, err
	}
	return &Matcher{automaton: a, vocabulary: v, state: a.start}, nil
}

// Allowed gives the tokens that may follow, a bit each, 64 in a word. It is valid until the grammar's next use, and must not
// be written to.
func (m *Matcher) Allowed() ([]uint64, error) {
	if m.state.mask != nil {
		return m.state.mask, nil
	}
	m.automaton.work = 0
	mask := make([]uint64, (m.vocabulary.size+63)/64)
	if m.state.final {
		for _, id := range m.vocabulary.end {
			mask[id/64] |= 1 << (id % 64)
		}
	}
	if err := m.mark(mask, 0, m.state); err != nil {
		return nil, err
	}
	if m.automaton.masks < maxMasks {
		m.automaton.masks++
		m.state.mask = mask
	}
	return mask, nil
}

// mark sets the bits of all tokens below a node of the trie that is reached in a state.
func (m *Matcher) mark(mask []uint64, at int32, s *state) error {
	node := &m.vocabulary.nodes[at]
	for _, id := range node.tokens {
		mask[id/64] |= 1 << (id % 64)
	}
	for child := node.first; child < node.first+node.count; child++ {
		next, err := m.automaton.step(s, m.vocabulary.nodes[child].b)
		if err != nil {
			return err
		}
		if next != dead {
			if err := m.mark(mask, child, next); err != nil {
				return err
			}
		}
	}
	return nil
}

// Forbidden appends the tokens that may not follow.
func (m *Matcher) Forbidden(to []int32) ([]int32, error) {
	mask, err := m.Allowed()
	if err != nil {
		return to, err
	}
	for id := range int32(m.vocabulary.size) {
		if mask[id/64]>>(id%64)&1 == 0 {
			to = append(to, id)
		}
	}
	return to, nil
}

// Accept takes the bytes of the token that was chosen, if it is none that ends the text.
func (m *Matcher) Accept(piece []byte) error {
	m.automaton.work = 0
	for _, b := range piece {
		next, err := m.automaton.step(m.state, b)
		if err != nil {
			return err
		}
		if m.state = next; next == dead {
			return fmt.Errorf("%.40q does not fit the schema", piece)
		}
	}
	return nil
}
