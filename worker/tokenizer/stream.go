package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// A Stream decodes tokens one by one and gives whole characters only. It belongs to one goroutine.
type Stream struct {
	tokenizer Tokenizer
	pending   []byte // the beginning of a character
	skipSpace bool   // the space that encoding put before the text is still to come
}

// NewStream starts a stream. As a continuation, every space belongs to the text; otherwise the stream begins a text, and
// what it gives is together what Decode gives.
func NewStream(tokenizer Tokenizer, continuation bool) *Stream {
	return &Stream{tokenizer: tokenizer, skipSpace: !continuation && tokenizer.spacePrefix()}
}

// Push takes a token and gives the text that is complete now, which may be empty. Control tokens are left out. Bytes that
// cannot become UTF-8 are replaced by U+FFFD, one for each run that breaks the encoding.
func (s *Stream) Push(id int32) string {
	if s.tokenizer.IsControl(id) {
		return ""
	}
	piece := s.tokenizer.Piece(id)
	if s.skipSpace && len(piece) > 0 {
		s.skipSpace = false
		if piece[0] == ' ' {
			piece = piece[1:]
		}
	}
	s.pending = append(s.pending, piece...)
	complete := len(s.pending) - incompleteTail(s.pending)
	text := toValid(s.pending[:complete])
	s.pending = append(s.pending[:0], s.pending[complete:]...)
	return text
}

// Held tells whether the stream holds back the beginning of a character.
func (s *Stream) Held() bool { return len(s.pending) > 0 }

// Flush ends the stream and gives U+FFFD for a character that was not completed.
func (s *Stream) Flush() string {
	text := toValid(s.pending)
	s.pending = s.pending[:0]
	return text
}

// decode gives the text of a whole sequence.
func decode(t Tokenizer, ids []int32) string {
	var text strings.Builder
	stream := NewStream(t, false)
	for _, id := range ids {
		text.WriteString(stream.Push(id))
	}
	text.WriteString(stream.Flush())
	return text.String()
}

// incompleteTail gives the length of the unfinished character at the end of b: 0 to 3 bytes.
func incompleteTail(b []byte) int {
	for n := 1; n <= min(len(b), utf8.UTFMax-1); n++ {
		tail := b[len(b)-n:]
		if utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}

// toValid replaces each maximal invalid part by one U+FFFD (Unicode 15, section 3.9, substitution of maximal subparts).
func toValid(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	out := make([]byte, 0, len(b)+8)
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r == utf8.RuneError && size == 1 {
			size = maximalSubpart(b)
		}
		out = utf8.AppendRune(out, r)
		b = b[size:]
	}
	return string(out)
}

// maximalSubpart gives the length of the longest beginning of b that some UTF-8 character starts with, at least 1.
func maximalSubpart(b []byte) int {
	for n := min(len(b), utf8.UTFMax-1); n > 1; n-- {
		if utf8.RuneStart(b[0]) && !utf8.FullRune(b[:n]) {
			return n
		}
	}
	return 1
}
