package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
)

// maxSpecialBytes bounds the name of a special token, and with it the time that a search takes at each place.
const maxSpecialBytes = 512

// specialTokens finds the names of special tokens in text; at each place the longest name wins.
type specialTokens struct {
	nodes  []trieNode // nodes[0] is the root
	strips map[int32]strip
}

type trieNode struct {
	children map[byte]int
	id       int32 // noToken if no name ends here
}

// strip tells which white space around a token belongs to it.
type strip struct{ left, right bool }

// add enters a name. The first of two equal names wins; empty names are never found.
func (s *specialTokens) add(name string, id int32) error {
	if len(name) > maxSpecialBytes {
		return fmt.Errorf("the name of special token %d has %d bytes, at most %d are allowed; convert the model again", id, len(name), maxSpecialBytes)
	}
	if name == "" {
		return nil
	}
	if s.nodes == nil {
		s.nodes = []trieNode{{id: noToken}}
	}
	at := 0
	for i := range len(name) {
		next, ok := s.nodes[at].children[name[i]]
		if !ok {
			next = len(s.nodes)
			s.nodes = append(s.nodes, trieNode{id: noToken})
			if s.nodes[at].children == nil {
				s.nodes[at].children = map[byte]int{}
			}
			s.nodes[at].children[name[i]] = next
		}
		at = next
	}
	if s.nodes[at].id == noToken {
		s.nodes[at].id = id
	}
	return nil
}

// setStrip makes white space around a token belong to it.
func (s *specialTokens) setStrip(id int32, how strip) {
	if s.strips == nil {
		s.strips = map[int32]strip{}
	}
	s.strips[id] = how
}

// cut splits text around its first special token that may stand there; id is noToken and before all of text if there is none.
func (s *specialTokens) cut(text string, may func(id int32, start, end int) bool) (before string, id int32, after string) {
	if s.nodes == nil {
		return text, noToken, ""
	}
	for start := range len(text) {
		id, length := s.longestAt(text, start, may)
		if id == noToken {
			continue
		}
		before, after = text[:start], text[start+length:]
		if s.strips[id].left {
			before = strings.TrimRightFunc(before, unicode.IsSpace)
		}
		if s.strips[id].right {
			after = strings.TrimLeftFunc(after, unicode.IsSpace)
		}
		return before, id, after
	}
	return text, noToken, ""
}

// longestAt gives the token with the longest name that begins at start and may stand there.
func (s *specialTokens) longestAt(text string, start int, may func(id int32, start, end int) bool) (id int32, length int) {
	id = noToken
	at := 0
	for i := start; i < len(text); i++ {
		next, ok := s.nodes[at].children[text[i]]
		if !ok {
			break
		}
		at = next
		if found := s.nodes[at].id; found != noToken && may(found, start, i+1) {
			id, length = found, i+1-start
		}
	}
	return id, length
}
