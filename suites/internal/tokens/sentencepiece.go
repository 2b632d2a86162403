package tokens

import (
	"errors"
	"fmt"
	"strings"

	"touchstone/native/gguf"
)

// mark stands for a space in the names of tokens (U+2581).
const mark = "▁"

// sentencePiece reads a vocabulary with scores, in which bytes stand for characters that have no token.
func (t *Tokenizer) sentencePiece(file *gguf.File) error {
	scores, err := file.Floats("tokenizer.ggml.scores")
	if err != nil {
		return err
	}
	if len(scores) != len(t.names) {
		return fmt.Errorf("%d tokens with %d scores", len(t.names), len(scores))
	}
	prefix, err := file.Bool("tokenizer.ggml.add_space_prefix")
	if errors.Is(err, gguf.ErrMissingKey) {
		prefix, err = true, nil
	}
	if err != nil {
		return err
	}
	unknown, err := file.Uint64("tokenizer.ggml.unknown_token_id")
	hasUnknown := err == nil
	ids, bytes := map[string]int32{}, map[byte]int32{}
	for id, name := range t.names {
		piece := []byte(name)
		switch t.types[id] {
		case typeByte:
			var b byte
			if _, err := fmt.Sscanf(name, "<0x%02X>", &b); err != nil {
				return fmt.Errorf("token %d is a byte called %q", id, name)
			}
			piece, bytes[b] = []byte{b}, int32(id)
		case typeControl, typeUnknown:
		default:
			piece = []byte(strings.ReplaceAll(name, mark, " "))
			if !has(ids, name) {
				ids[name] = int32(id)
			}
		}
		t.pieces = append(t.pieces, piece)
	}
	t.encode = func(text string) ([]int32, error) {
		if text == "" {
			return nil, nil
		}
		if prefix {
			text = " " + text
		}
		symbols := strings.Split(strings.ReplaceAll(text, " ", mark), "")
		var out []int32
		for _, symbol := range mergeAll(symbols, func(left, right string) (float64, bool) {
			id, found := ids[left+right]
			if !found {
				return 0, false
			}
			return -scores[id], true
		}) {
			if id, found := ids[symbol]; found {
				out = append(out, id)
				continue
			}
			for i := range len(symbol) {
				id, found := bytes[symbol[i]]
				if !found {
					if !hasUnknown {
						return nil, fmt.Errorf("the vocabulary has no token for byte 0x%02X", symbol[i])
					}
					out = append(out, int32(unknown))
					break
				}
				out = append(out, id)
			}
		}
		return out, nil
	}
	return nil
}
