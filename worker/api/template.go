package api

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"touchstone/worker/internal/jinja"
)

// Message is one turn of a conversation. The content is somebody's text; the role is one of the names that the interface knows.
type Message struct{ Role, Content string }

// Prompt is what a model is asked.
type Prompt struct {
	Text string
	Said [][2]int // the byte ranges of Text that the messages contributed: names of control tokens in them are text
}

// ChatTemplate renders a conversation as the prompt that a model was trained on. The template is Jinja source from the
// model's file; it sees the conversation and the time of day, and its time and memory are bounded. It may be used from any
// goroutine.
type ChatTemplate struct {
	template *jinja.Template
	special  map[string]jinja.Value
	parts    bool // it wants contents as lists of parts
	now      func() time.Time
}

// NewChatTemplate reads a template; bos and eos are the texts of the tokens that begin and end a sequence. The error is one
// line that names what is wrong or missing.
func NewChatTemplate(source, bos, eos string) (*ChatTemplate, error) {
	template, err := jinja.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	c := &ChatTemplate{template: template, special: map[string]jinja.Value{}, now: time.Now}
	for name, token := range map[string]string{"bos_token": bos, "eos_token": eos} {
		if token != "" {
			c.special[name] = jinja.Own(token)
		}
	}
	c.parts = c.wantsParts()
	return c, nil
}

// wantsParts finds out whether the template loses contents that are plain strings and keeps those that are lists of parts.
func (c *ChatTemplate) wantsParts() bool {
	const content = "what is said"
	keeps := func(parts bool) bool {
		probe := &ChatTemplate{template: c.template, special: c.special, parts: parts, now: c.now}
		text, err := probe.Render([]Message{{Role: "user", Content: content}})
		return err == nil && strings.Contains(text, content)
	}
	return !keeps(false) && keeps(true)
}

// Render gives the text of the prompt that asks for the assistant's next turn.
func (c *ChatTemplate) Render(messages []Message) (string, error) {
	prompt, err := c.Prompt(messages)
	return prompt.Text, err
}

// Prompt gives the prompt that asks for the assistant's next turn.
func (c *ChatTemplate) Prompt(messages []Message) (Prompt, error) {
	turns := make([]jinja.Value, len(messages))
	for i, message := range messages {
		turns[i] = jinja.Dict(jinja.Entry{Key: "role", Value: jinja.Own(message.Role)}, jinja.Entry{Key: "content", Value: c.content(message)})
	}
	variables := map[string]jinja.Value{
		"messages": jinja.List(turns...), "add_generation_prompt": jinja.Bool(true), "tools": jinja.None(), "documents": jinja.None(),
	}
	for name, token := range c.special {
		variables[name] = token
	}
	output, err := c.template.Render(variables, c.now())
	var raised *jinja.RaisedError
	if errors.As(err, &raised) {
		return Prompt{}, fmt.Errorf("the chat template refuses this conversation: %w", err)
	}
	if err != nil {
		return Prompt{}, fmt.Errorf("the chat template failed: %w", err)
	}
	prompt := Prompt{Text: output.Text}
	for _, span := range output.Data {
		prompt.Said = append(prompt.Said, [2]int{span.Start, span.End})
	}
	return prompt, nil
}

func (c *ChatTemplate) content(message Message) jinja.Value {
	text := jinja.Data(message.Content)
	if !c.parts {
		return text
	}
	return jinja.List(jinja.Dict(jinja.Entry{Key: "type", Value: jinja.Own("text")}, jinja.Entry{Key: "text", Value: text}))
}
