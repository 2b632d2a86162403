package engine

import "strings"

// A Tokenizer turns text into token ids and back. Its methods may be called from any goroutine.
type Tokenizer interface {
	// Encode gives the ids of text, with the tokens that the model expects at the beginning of a sequence. With special,
	// names of control tokens in the text stand for those tokens; without, they are ordinary text.
	Encode(text string, special bool) ([]int32, error)
	// EncodePrompt gives the ids of a prompt as Encode with special does, but within the byte ranges of said, which are in
	// order, names of control tokens are ordinary text.
	EncodePrompt(text string, said [][2]int) ([]int32, error)
	// Count gives how many tokens text is by itself, without a beginning-of-sequence token.
	Count(text string) (int, error)
	// Piece gives the bytes of one token, which may be part of a character.
	Piece(id int32) []byte
	// IsControl tells whether the token is left out of text.
	IsControl(id int32) bool
	// IsEndOfText tells whether the token ends a text.
	IsEndOfText(id int32) bool
	// NewDecoder starts to decode a stream of tokens.
	NewDecoder() Decoder
}

// A Decoder turns a stream of tokens into whole characters. It belongs to one goroutine.
type Decoder interface {
	// Push adds a token and returns the text that is complete now, which may be empty.
	Push(id int32) string
	// Held tells whether part of a character is waiting for its rest.
	Held() bool
	// Flush ends the stream and returns what is left, with U+FFFD for an incomplete character.
	Flush() string
}

// PieceText is a token's text by itself, with U+FFFD for parts of characters.
func PieceText(tokenizer Tokenizer, id int32) string {
	return strings.ToValidUTF8(string(tokenizer.Piece(id)), "\uFFFD")
}
