package api

import (
	"errors"
	"fmt"
	"sync"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
)

// Message is one turn of a conversation.
type Message struct{ Role, Content string }

// ChatTemplate renders a conversation as the prompt that a model was trained on. The template is Jinja source from the
// model's file; it sees the conversation and nothing else: no files, no clock.
type ChatTemplate struct {
	mu        sync.Mutex
	template  *exec.Template
	bos, eos  string
	complaint error // what the template raised while it ran; guarded by mu
}

// NewChatTemplate parses a template; bos and eos are the texts of the tokens that begin and end a sequence.
func NewChatTemplate(source, bos, eos string) (*ChatTemplate, error) {
	const name = "/chat_template"
	c := &ChatTemplate{bos: bos, eos: eos}
	// Chat templates are written for these two settings of Jinja.
	settings := config.New()
	settings.TrimBlocks, settings.LeftStripBlocks = true, true
	environment := &exec.Environment{
		Context: exec.EmptyContext().Update(builtins.GlobalFunctions).Update(exec.NewContext(map[string]any{
			"raise_exception": func(_ *exec.Evaluator, arguments *exec.VarArgs) (string, error) {
				c.complaint = errors.New(arguments.First().String())
				return "", c.complaint
			},
		})),
		Filters: builtins.Filters, Tests: builtins.Tests, ControlStructures: builtins.ControlStructures, Methods: builtins.Methods,
	}
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	if c.template, err = exec.NewTemplate(name, settings, loader, environment); err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	return c, nil
}

// Render gives the prompt that asks for the assistant's next turn.
func (c *ChatTemplate) Render(messages []Message) (prompt string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer func() { // the template is a stranger's program in an interpreter that may panic
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the chat template failed: %v", cause)
		}
	}()
	turns := make([]any, len(messages))
	for i, message := range messages {
		turns[i] = map[string]any{"role": message.Role, "content": message.Content}
	}
	c.complaint = nil
	prompt, err = c.template.ExecuteToString(exec.NewContext(map[string]any{
		"messages": turns, "add_generation_prompt": true, "bos_token": c.bos, "eos_token": c.eos,
	}))
	if c.complaint != nil {
		return "", fmt.Errorf("the chat template refuses this conversation: %w", c.complaint)
	}
	if err != nil {
		return "", fmt.Errorf("the chat template failed: %w", err)
	}
	return prompt, nil
}
