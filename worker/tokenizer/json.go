package tokenizer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// FromTokenizerJSON builds a byte-level BPE tokenizer from the contents of a Hugging Face tokenizer.json. EOS and BOS are
// found by their usual names, since the file does not say which they are.
func FromTokenizerJSON(data []byte) (Tokenizer, error) {
	var file tokenizerFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("tokenizer.json cannot be read; download it again: %w", err)
	}
	if file.Model.Type != "BPE" {
		return nil, fmt.Errorf("tokenizer.json: model type %q is not supported (BPE is)", file.Model.Type)
	}
	if file.Model.ByteFallback || file.Model.Dropout != nil {
		return nil, errors.New("tokenizer.json: byte_fallback and dropout are not supported; use the model's GGUF file")
	}
	pre, prefix, err := file.PreTokenizer.read()
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: pre_tokenizer: %w", err)
	}
	pre.ignoreMerges = file.Model.IgnoreMerges
	normalizes, err := file.Normalizer.isNFC()
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: normalizer: %w", err)
	}
	v, err := file.vocabulary()
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	v.prependsASpace = prefix
	t, err := newBPE(v, file.mergePairs(), pre)
	if err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	t.normalizes = normalizes
	for _, added := range file.AddedTokens {
		t.special.setStrip(added.ID, strip{left: added.LStrip, right: added.RStrip})
	}
	return t, nil
}

type tokenizerFile struct {
	AddedTokens []struct {
		ID      int32  `json:"id"`
		Content string `json:"content"`
		Special bool   `json:"special"`
		LStrip  bool   `json:"lstrip"`
		RStrip  bool   `json:"rstrip"`
	} `json:"added_tokens"`
	Normalizer    *component `json:"normalizer"`
	PreTokenizer  *component `json:"pre_tokenizer"`
	PostProcessor *component `json:"post_processor"`
	Model         struct {
		Type         string           `json:"type"`
		Vocab        map[string]int32 `json:"vocab"`
		Merges       []mergePair      `json:"merges"`
		UnkToken     *string          `json:"unk_token"`
		Dropout      *float64         `json:"dropout"`
		ByteFallback bool             `json:"byte_fallback"`
		IgnoreMerges bool             `json:"ignore_merges"`
	} `json:"model"`
}

// component is a normalizer, pre-tokenizer or post-processor with the fields of all the kinds that are supported.
type component struct {
	Type           string      `json:"type"`
	Normalizers    []component `json:"normalizers"`
	PreTokenizers  []component `json:"pretokenizers"`
	Processors     []component `json:"processors"`
	AddPrefixSpace bool        `json:"add_prefix_space"`
	UseRegex       *bool       `json:"use_regex"`
	Individual     bool        `json:"individual_digits"`
	Behavior       string      `json:"behavior"`
	Invert         bool        `json:"invert"`
	Pattern        struct {
		Regex string `json:"Regex"`
	} `json:"pattern"`
	Single []struct {
		SpecialToken *struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
	SpecialTokens map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`
}

// mergePair is written as "a b" or as ["a", "b"].
type mergePair [2]string

// UnmarshalJSON reads both spellings.
func (m *mergePair) UnmarshalJSON(data []byte) error {
	var pair []string
	if err := json.Unmarshal(data, &pair); err == nil {
		if len(pair) != 2 {
			return fmt.Errorf("a merge has %d parts, not 2", len(pair))
		}
		*m = mergePair(pair)
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New("a merge is neither a string nor a pair of strings")
	}
	left, right, _ := bytes.Cut([]byte(text), []byte(" "))
	*m = mergePair{string(left), string(right)}
	return nil
}

func (f *tokenizerFile) mergePairs() [][2]string {
	pairs := make([][2]string, len(f.Model.Merges))
	for i, m := range f.Model.Merges {
		pairs[i] = m
	}
	return pairs
}

// vocabulary collects the tokens of the model and the added ones, and the special ids.
func (f *tokenizerFile) vocabulary() (*vocabulary, error) {
	size := 0
	for id := range maps.Values(f.Model.Vocab) {
		size = max(size, int(id)+1)
	}
	for _, added := range f.AddedTokens {
		size = max(size, int(added.ID)+1)
	}
	if size == 0 || size > maxTokens {
		return nil, fmt.Errorf("the vocabulary has %d tokens (1 to %d are allowed)", size, maxTokens)
	}
	v := &vocabulary{names: make([]string, size), types: make([]tokenType, size), endOfText: map[int32]bool{}, bos: noToken, eos: noToken, unk: noToken}
	for i := range v.types {
		v.types[i] = typeUnused
	}
	for name, id := range f.Model.Vocab {
		if id < 0 || v.types[id] != typeUnused {
			return nil, fmt.Errorf("id %d of token %.64q is negative or taken by another token", id, name)
		}
		v.names[id], v.types[id] = name, typeNormal
		if f.Model.UnkToken != nil && name == *f.Model.UnkToken {
			v.unk, v.types[id] = id, typeUnknown
		}
	}
	for _, added := range f.AddedTokens {
		if added.ID < 0 {
			return nil, fmt.Errorf("id %d of added token %.64q is negative", added.ID, added.Content)
		}
		v.names[added.ID], v.types[added.ID] = added.Content, typeUserDefined
		if added.Special {
			v.types[added.ID] = typeControl
		}
	}
	v.eos = v.findControl(endOfTextNames)
	v.bos = v.findControl([]string{"<|begin_of_text|>", "<|startoftext|>", "<s>", "<bos>", "<|endoftext|>"})
	return v, f.PostProcessor.addTo(v)
}

// findControl gives the first control token with one of the names, in order of the names.
func (v *vocabulary) findControl(names []string) int32 {
	ids := map[string]int32{}
	for i, name := range v.names {
		if v.types[i] == typeControl {
			ids[name] = int32(i)
		}
	}
	for _, name := range names {
		if id, ok := ids[name]; ok {
			return id
		}
	}
	return noToken
}

// isNFC tells whether text is normalized to NFC; other normalizers are refused.
func (c *component) isNFC() (bool, error) {
	switch {
	case c == nil || c.Type == "Sequence" && len(c.Normalizers) == 0:
		return false, nil
	case c.Type == "NFC":
		return true, nil
	case c.Type == "Sequence" && len(c.Normalizers) == 1:
		return c.Normalizers[0].isNFC()
	}
	return false, fmt.Errorf("%q is not supported (NFC is)", c.Type)
}

// read gives the splits of a pre-tokenizer, which must end in ByteLevel, and whether a space is put before the text.
func (c *component) read() (pre preTokenizer, prefix bool, err error) {
	if c == nil {
		return pre, false, errors.New("it is missing; only byte-level BPE is supported")
	}
	steps := []component{*c}
	if c.Type == "Sequence" {
		steps = c.PreTokenizers
	}
	if len(steps) == 0 || steps[len(steps)-1].Type != "ByteLevel" {
		return pre, false, errors.New("the last step is not ByteLevel; only byte-level BPE is supported")
	}
	for i, step := range steps {
		split, err := step.split()
		if err != nil {
			return pre, false, err
		}
		if split != "" {
			pre.splits = append(pre.splits, split)
		}
		if step.AddPrefixSpace {
			if i > 0 {
				return pre, false, errors.New("add_prefix_space after another step is not supported")
			}
			prefix = true
		}
	}
	return pre, prefix, nil
}

// split gives the expression of one step, empty if it does not split.
func (c *component) split() (string, error) {
	switch c.Type {
	case "ByteLevel":
		if c.UseRegex == nil || *c.UseRegex {
			return gpt2Split, nil
		}
		return "", nil
	case "Digits":
		if c.Individual {
			return digitSplit, nil
		}
	case "Split":
		known := slices.Contains([]string{gpt2Split, llama3Split, qwen2Split, digitSplit}, c.Pattern.Regex)
		if known && c.Behavior == "Isolated" && !c.Invert {
			return c.Pattern.Regex, nil
		}
		return "", fmt.Errorf("the split %.128q (%s) is not one of the supported expressions", c.Pattern.Regex, c.Behavior)
	}
	return "", fmt.Errorf("step %q is not supported", c.Type)
}

// addTo reads which special tokens a post-processor puts around a text.
func (c *component) addTo(v *vocabulary) error {
	if c == nil {
		return nil
	}
	switch c.Type {
	case "ByteLevel":
		return nil
	case "Sequence":
		for i := range c.Processors {
			if err := c.Processors[i].addTo(v); err != nil {
				return err
			}
		}
		return nil
	case "TemplateProcessing":
		list := &v.before
		for _, item := range c.Single {
			if item.SpecialToken == nil {
				list = &v.after
				continue
			}
			for _, id := range c.SpecialTokens[item.SpecialToken.ID].IDs {
				if !v.exists(id) {
					return fmt.Errorf("post_processor: id %d is not in the vocabulary", id)
				}
				*list = append(*list, id)
			}
		}
		return nil
	}
	return fmt.Errorf("post_processor %q is not supported", c.Type)
}
