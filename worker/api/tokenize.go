package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"touchstone/worker/engine"
	"touchstone/worker/internal/problem"
)

type tokenBody struct {
	ID    int32  `json:"id"`
	Piece string `json:"piece"`
	Bytes []int  `json:"bytes,omitempty"` // if the piece is not valid UTF-8 by itself
}

type tokenizeBody struct {
	Tokens []tokenBody `json:"tokens"`
	Count  int         `json:"count"`
}

// tokenize gives the ids and pieces of a text, as a prompt would be tokenized.
func (s *Server) tokenize(w http.ResponseWriter, r *http.Request, ready *ready) {
	f, p := s.readFields(w, r)
	var text string
	var special bool
	if p == nil {
		text = f.text("text", engine.MaxPromptCharacters)
		special = f.boolean("special", true)
		p = f.problem()
	}
	if p != nil {
		s.refuse(w, r, p)
		return
	}
	ids, err := ready.tokenizer.Encode(text, special)
	if err != nil {
		s.refuse(w, r, problem.New(problem.InvalidRequest, "the text cannot be tokenized: %v", err))
		return
	}
	body := tokenizeBody{Tokens: make([]tokenBody, len(ids)), Count: len(ids)}
	for i, id := range ids {
		piece := ready.tokenizer.Piece(id)
		body.Tokens[i] = tokenBody{ID: id, Piece: string(piece)}
		if !utf8.Valid(piece) {
			body.Tokens[i].Bytes = byteValues(piece)
		}
	}
	s.reply(w, http.StatusOK, body)
}

// detokenize gives the text of ids.
func (s *Server) detokenize(w http.ResponseWriter, r *http.Request, ready *ready) {
	f, p := s.readFields(w, r)
	var ids []int32
	if p == nil {
		ids = f.tokenIDs("ids", s.options.Limits.VocabSize)
		p = f.problem()
	}
	if p != nil {
		s.refuse(w, r, p)
		return
	}
	decoder := ready.tokenizer.NewDecoder()
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(decoder.Push(id))
	}
	s.reply(w, http.StatusOK, map[string]string{"text": text.String() + decoder.Flush()})
}

// maxTokenIDs is as many ids as a body may list.
const maxTokenIDs = 131072

// tokenIDs takes a required list of token ids.
func (f *fields) tokenIDs(name string, vocabSize int) []int32 {
	constraint := fmt.Sprintf("a list of at most %d integers from 0 to %d", maxTokenIDs, vocabSize-1)
	value, present := f.take(name)
	if !present {
		f.missing(name, constraint)
		return nil
	}
	list, ok := value.([]any)
	if !ok || len(list) > maxTokenIDs {
		f.reject(name, constraint, value)
		return nil
	}
	ids := make([]int32, 0, len(list))
	for i, element := range list {
		number, _ := element.(json.Number)
		id, ok := integerOf(number)
		if !ok || id < 0 || id >= int64(vocabSize) {
			f.reject(fmt.Sprintf("%s[%d]", name, i), fmt.Sprintf("an integer from 0 to %d", vocabSize-1), element)
			continue
		}
		ids = append(ids, int32(id))
	}
	return ids
}

func byteValues(piece []byte) []int {
	values := make([]int, len(piece))
	for i, b := range piece {
		values[i] = int(b)
	}
	return values
}
