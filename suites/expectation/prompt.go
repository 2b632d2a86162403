package expectation

import (
	"math/rand/v2"
	"strings"

	"touchstone/suites/internal/tokens"
)

// Prompt is one of its three forms.
type Prompt struct {
	Text   string    `json:"text,omitempty"`
	Tokens []int32   `json:"tokens,omitempty"`
	Chat   []Message `json:"chat,omitempty"`
}

// Message is one turn of a chat.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// scripts are ranges of characters that words are made of.
var scripts = [][]rune{
	runes('a', 'z'), runes('a', 'z'), runes('A', 'Z'), runes('0', '9'), runes('à', 'ÿ'), runes('α', 'ω'), runes('а', 'я'), runes('א', 'ת'),
	runes('ا', 'ي'), runes('क', 'ह'), runes('ぁ', 'ん'), runes('一', '丰'), runes('가', '갛'), runes('😀', '😏'), []rune("!?.,;:()[]{}<>|/\\\"'`~@#$%^&*-_=+"),
}

func runes(first, last rune) []rune {
	var out []rune
	for r := first; r <= last; r++ {
		out = append(out, r)
	}
	return out
}

// gaps stand between words.
var gaps = []string{" ", " ", " ", " ", "  ", "\n", ", ", ". ", "\t", "\n\n", "-", ""}

// common are words that a prompt may also have, so that some are sentences.
var common = strings.Fields("the rain on a quiet river write haiku about computing moon light of autumn leaves " +
	"and what is it in 1984 for me please")

func word(r *rand.Rand) string {
	if chance(r, 0.5) {
		return common[r.IntN(len(common))]
	}
	script := scripts[r.IntN(len(scripts))]
	out := make([]rune, 1+r.IntN(9))
	for i := range out {
		out[i] = script[r.IntN(len(script))]
	}
	return string(out)
}

// words is a text of many words.
func words(r *rand.Rand, count int) string {
	var text strings.Builder
	for range count {
		text.WriteString(word(r))
		text.WriteString(gaps[r.IntN(len(gaps))])
	}
	return text.String()
}

// noise is what random tokens of the vocabulary show: text that no corpus has.
func noise(r *rand.Rand, t *tokens.Tokenizer, count int) string {
	return strings.ReplaceAll(t.Text(plainTokens(r, t, count), true), "\x00", "")
}

func plainTokens(r *rand.Rand, t *tokens.Tokenizer, count int) []int32 {
	var out []int32
	for len(out) < count {
		if id := int32(r.IntN(t.Size())); t.Plain(id) {
			out = append(out, id)
		}
	}
	return out
}

// prompt draws a prompt of about so many tokens, and gives the ids that the model sees for it.
func (q *Request) prompt(r *rand.Rand, t *tokens.Tokenizer, offer Offer, length int) ([]int32, error) {
	var forms []string
	for _, form := range []struct {
		name    string
		offered bool
	}{{"text", offer.Text}, {"tokens", offer.Tokens}, {"chat", offer.Chat && t.ChatML()}} {
		if form.offered {
			forms = append(forms, form.name)
		}
	}
	switch forms[r.IntN(len(forms))] {
	case "tokens":
		q.Prompt.Tokens = plainTokens(r, t, length)
		return q.Prompt.Tokens, nil
	case "chat":
		q.Prompt.Chat = chat(r, length)
		return t.EncodePrompt(ChatML(q.Prompt.Chat))
	}
	write := func(count int) string { return words(r, count) }
	if chance(r, 0.3) {
		write = func(count int) string { return noise(r, t, count) }
	}
	const spare = 6 // tokens
	untidy := length > 2*spare && chance(r, 0.2)
	if untidy {
		length -= spare
	}
	text, ids, err := exactly(t, write(length+1), length)
	if err == nil && untidy { // with white space around it, which a server may think it may drop
		text = []string{" ", "\n", ""}[r.IntN(3)] + text + []string{" ", "\n", "  "}[r.IntN(3)]
		ids, err = t.EncodePrompt(text)
	}
	q.Prompt.Text = text
	return ids, err
}

// exactly cuts a text to so many tokens: the longest beginning that has no more. It has fewer only where a cut anywhere would
// give more or fewer.
func exactly(t *tokens.Tokenizer, text string, length int) (string, []int32, error) {
	all := []rune(text)
	low, high := 1, len(all)
	for low < high {
		middle := (low + high + 1) / 2
		ids, err := t.EncodePrompt(string(all[:middle]))
		if err != nil {
			return "", nil, err
		}
		if len(ids) <= length {
			low = middle
		} else {
			high = middle - 1
		}
	}
	ids, err := t.EncodePrompt(string(all[:low]))
	return string(all[:low]), ids, err
}

// chat is a conversation whose turns together have about so many words.
func chat(r *rand.Rand, length int) []Message {
	var out []Message
	if chance(r, 0.4) {
		out = append(out, Message{"system", words(r, 1+r.IntN(8))})
	}
	for turn := range 1 + 2*r.IntN(3) {
		out = append(out, Message{[]string{"user", "assistant"}[turn%2], words(r, 1+r.IntN(1+length/8))})
	}
	return out
}

// ChatML is a chat as models of that format read it, ready for the assistant's turn.
func ChatML(chat []Message) string {
	var out strings.Builder
	for _, message := range chat {
		out.WriteString("<|im_start|>" + message.Role + "\n" + message.Content + "<|im_end|>\n")
	}
	return out.String() + "<|im_start|>assistant\n"
}
