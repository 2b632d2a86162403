package tokenizer

import "slices"

// symbol is a part of a text on its way to become a token. Symbols form a linked list in text order.
type symbol struct {
	id         int32 // noToken if the part is no token
	start      int   // in the text, bytes
	length     int   // bytes; 0 once the symbol is merged into another one
	prev, next int   // -1 at the ends
}

// candidate is a pair of neighbours that may become one token.
type candidate struct {
	rank        int32 // lower is merged earlier
	left, right int   // symbols
	length      int   // of both together, when the candidate was found
	id          int32 // what they become
}

func (c candidate) before(other candidate) bool {
	if c.rank != other.rank {
		return c.rank < other.rank
	}
	return c.left < other.left
}

// merger merges neighbours in order of rank, the leftmost first among equals, until no pair is left: O(n log n) in the
// number of symbols. It keeps its memory for the next text.
type merger struct {
	text    string
	symbols []symbol
	heap    []candidate // a binary min-heap
	// pair tells what two neighbours become and when; ok is false if they do not merge.
	pair func(text string, left, right symbol) (rank, id int32, ok bool)
}

// reset starts a text; symbols follow with push.
func (m *merger) reset(text string) {
	m.text = text
	m.symbols = slices.Grow(m.symbols[:0], len(text))
	m.heap = slices.Grow(m.heap[:0], len(text))
}

// push appends a symbol of the next length bytes.
func (m *merger) push(id int32, length int) {
	last := len(m.symbols) - 1
	start := 0
	if last >= 0 {
		start = m.symbols[last].start + m.symbols[last].length
		m.symbols[last].next = last + 1
	}
	m.symbols = append(m.symbols, symbol{id: id, start: start, length: length, prev: last, next: -1})
}

// run merges and then calls emit for every symbol that is left, in order.
func (m *merger) run(emit func(symbol) error) error {
	for i := 1; i < len(m.symbols); i++ {
		m.offer(i-1, i)
	}
	for len(m.heap) > 0 {
		c := m.pop()
		left, right := &m.symbols[c.left], &m.symbols[c.right]
		// Lengths only grow, or drop to 0: an equal sum means that both are as they were.
		if left.length == 0 || right.length == 0 || left.length+right.length != c.length {
			continue
		}
		left.id, left.length, left.next = c.id, c.length, right.next
		right.length = 0
		if left.next >= 0 {
			m.symbols[left.next].prev = c.left
			m.offer(c.left, left.next)
		}
		if left.prev >= 0 {
			m.offer(left.prev, c.left)
		}
	}
	for at := 0; at >= 0 && at < len(m.symbols); at = m.symbols[at].next {
		if err := emit(m.symbols[at]); err != nil {
			return err
		}
	}
	return nil
}

// offer makes a candidate of two neighbours if they merge.
func (m *merger) offer(left, right int) {
	l, r := m.symbols[left], m.symbols[right]
	rank, id, ok := m.pair(m.text, l, r)
	if !ok {
		return
	}
	m.heap = append(m.heap, candidate{rank: rank, left: left, right: right, length: l.length + r.length, id: id})
	for at := len(m.heap) - 1; at > 0; {
		parent := (at - 1) / 2
		if !m.heap[at].before(m.heap[parent]) {
			break
		}
		m.heap[at], m.heap[parent] = m.heap[parent], m.heap[at]
		at = parent
	}
}

// pop takes the first candidate out of the heap.
func (m *merger) pop() candidate {
	first, last := m.heap[0], len(m.heap)-1
	m.heap[0] = m.heap[last]
	m.heap = m.heap[:last]
	for at := 0; ; {
		child := 2*at + 1
		if child >= last {
			return first
		}
		if child+1 < last && m.heap[child+1].before(m.heap[child]) {
			child++
		}
		if !m.heap[child].before(m.heap[at]) {
			return first
		}
		m.heap[at], m.heap[child] = m.heap[child], m.heap[at]
		at = child
	}
}
