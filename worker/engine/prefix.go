package engine

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"touchstone/native"
)

// blockHash stands for the tokens of a KV block and of all blocks before it.
type blockHash [sha256.Size]byte

// hashBlocks continues a chain of hashes with the whole blocks of tokens that it lacks.
func hashBlocks(chain []blockHash, tokens []int32) []blockHash {
	for n := len(chain); n < len(tokens)/kvBlockPositions; n++ {
		data := make([]byte, 0, sha256.Size+4*kvBlockPositions)
		if n > 0 {
			data = append(data, chain[n-1][:]...)
		}
		for _, token := range tokens[n*kvBlockPositions : (n+1)*kvBlockPositions] {
			data = binary.LittleEndian.AppendUint32(data, uint32(token))
		}
		chain = append(chain, sha256.Sum256(data))
	}
	return chain
}

// sequence is a session whose first tokens others may begin with: that of a running job, or one that was kept.
type sequence struct {
	session native.Session
	hashes  []blockHash   // of its whole blocks
	kept    *list.Element // its place among the kept ones; nil while its job runs
}

// prefixCache finds sessions that begin as a prompt does, so that a new session takes over their KV blocks (session_fork)
// instead of computing them again. Sessions of ended jobs are kept for it, until a step needs their blocks. It belongs to
// the engine's loop.
type prefixCache struct {
	holders map[blockHash]*sequence // of a block, one of those that have it
	all     map[*sequence]struct{}
	kept    *list.List // of *sequence, the last used first
}

func newPrefixCache() *prefixCache {
	return &prefixCache{holders: map[blockHash]*sequence{}, all: map[*sequence]struct{}{}, kept: list.New()}
}

// wholeBlocks is the length of the longest prefix of a prompt that may be taken over: whole blocks, and not all tokens,
// because the last one's logits are needed.
func wholeBlocks(tokens int) int { return max(tokens-1, 0) / kvBlockPositions * kvBlockPositions }

// find gives a sequence that begins with most of a prompt's blocks, and for how many tokens.
func (c *prefixCache) find(prompt []int32) (best *sequence, length int) {
	for i, hash := range hashBlocks(nil, prompt[:wholeBlocks(len(prompt))]) {
		holder := c.holders[hash]
		if holder == nil {
			break
		}
		best, length = holder, (i+1)*kvBlockPositions
	}
	if best != nil && best.kept != nil {
		c.kept.MoveToFront(best.kept)
	}
	return best, length
}

// extend tells that a sequence has these tokens now, which begin with those it had.
func (c *prefixCache) extend(s *sequence, tokens []int32) {
	c.all[s] = struct{}{}
	before := len(s.hashes)
	s.hashes = hashBlocks(s.hashes, tokens)
	for _, hash := range s.hashes[before:] {
		if c.holders[hash] == nil {
			c.holders[hash] = s
		}
	}
}

// keep takes over the session of a job that ended, unless all its blocks are another's too: then it closes it. As each kept
// session has a block of its own, there are at most as many as blocks.
func (c *prefixCache) keep(s *sequence) error {
	if last := len(s.hashes) - 1; last < 0 || c.holders[s.hashes[last]] != s {
		return c.drop(s)
	}
	s.kept = c.kept.PushFront(s)
	return nil
}

// drop forgets a sequence and closes its session. Blocks that others have too are found through these.
func (c *prefixCache) drop(s *sequence) error {
	delete(c.all, s)
	if s.kept != nil {
		c.kept.Remove(s.kept)
	}
	for i, hash := range s.hashes {
		if c.holders[hash] != s {
			continue
		}
		delete(c.holders, hash)
		for other := range c.all {
			if i < len(other.hashes) && other.hashes[i] == hash {
				c.holders[hash] = other
				break
			}
		}
	}
	return s.session.Close()
}

// dropOldest drops the kept sequence that was not used for longest; false if none is kept.
func (c *prefixCache) dropOldest() (bool, error) {
	oldest := c.kept.Back()
	if oldest == nil {
		return false, nil
	}
	return true, c.drop(oldest.Value.(*sequence))
}

// commonPrefix is how many tokens two prompts share at their beginning, in blocks that the first may take over.
func commonPrefix(prompt, other []int32) int {
	length := wholeBlocks(len(prompt))
	for at := 0; at < length; at += kvBlockPositions {
		end := at + kvBlockPositions
		if end > len(other) || !slices.Equal(prompt[at:end], other[at:end]) {
			return at
		}
	}
	return length
}
