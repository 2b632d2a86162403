package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchstone/worker/api"
	"touchstone/worker/engine"
	"touchstone/worker/internal/metrics"
	"touchstone/worker/internal/problem"
)

// runFlags are the settings of `worker run`.
type runFlags struct {
	deviceFlags
	model      string
	system     string
	raw        bool
	parameters engine.Parameters
	stop       []string
}

// fromStdin is the prompt that stands for what comes on stdin.
const fromStdin = "-"

func newRun() *cobra.Command {
	f := &runFlags{parameters: engine.DefaultParameters()}
	cmd := &cobra.Command{
		Use: `run ["PROMPT" | -]`, Short: "Generate text, or talk with a model, on the terminal",
		Long: "Generate text from PROMPT, or from stdin with -. Without a prompt a conversation begins: a line is a turn, Ctrl-C ends an\n" +
			"answer, Ctrl-D the conversation. Prompts go through the model's chat template if it has one, unless --raw is given.",
		Args: func(_ *cobra.Command, arguments []string) error {
			if len(arguments) > 1 || len(arguments) == 1 && arguments[0] == "" {
				return usageError{errors.New("run takes one prompt, in quotes, or none")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, arguments []string) error {
			return f.run(cmd.Context(), arguments, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	p := &f.parameters
	checked(flags, &f.model, "model", "PATH", "", "GGUF file (default: "+defaultModel+")", path)
	flags.StringVar(&f.system, "system", "", "what the model is told before a conversation")
	flags.BoolVar(&f.raw, "raw", false, "no chat template: the model goes on with the prompt as it is")
	checked(flags, &p.MaxTokens, "max-tokens", "N", "", "tokens to generate (default: as many as fit, at most "+
		strconv.Itoa(engine.MaxOutputTokens)+")", integer(1, engine.MaxOutputTokens))
	checked(flags, &p.Seed, "seed", "N", "", "seed of the random numbers (default: a new one)", seed)
	checked(flags, &p.Temperature, "temperature", "X", "1", "0 is greedy", number(0, 2, false))
	checked(flags, &p.TopP, "top-p", "X", "1", "keep the likeliest tokens up to this sum; 1 is off", number(0, 1, false))
	checked(flags, &p.TopK, "top-k", "N", "0", "keep so many of the likeliest tokens; 0 is off", integer(0, 1<<30))
	checked(flags, &p.MinP, "min-p", "X", "0", "keep tokens with this part of the largest probability; 0 is off", number(0, 1, false))
	checked(flags, &p.RepetitionPenalty, "repetition-penalty", "X", "1", "1 is off", number(0, 2, true))
	flags.StringArrayVar(&f.stop, "stop", nil, "stop at this text; may be given up to 4 times")
	f.define(flags)
	_ = cmd.MarkFlagFilename("model", "gguf") // it fails only if there is no such flag
	return cmd
}

// run generates text, or leads a conversation, and writes what the model says as it comes.
func (f *runFlags) run(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) error {
	prompt, err := f.check(arguments, stdin)
	if err != nil {
		return err
	}
	m, err := openModel(f.model)
	if err != nil {
		return err
	}
	defer m.Close()
	if f.parameters.TopK > m.about.VocabSize {
		return usageError{fmt.Errorf("--top-k must be at most %d, the vocabulary of %s", m.about.VocabSize, m.about.Name)}
	}
	template, err := f.template(m, stderr)
	if err != nil {
		return err
	}
	device, err := f.open()
	if err != nil {
		return err
	}
	defer device.Close()
	if !f.canonical() {
		fmt.Fprintln(stderr, notCanonical)
	}
	m.description.KVCacheBytes = kvCacheBytes(&m.description, 1, device.properties.MemoryFree)
	model, err := loadModel(ctx, device, m, newProgress(stderr, slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer model.Close()
	e, err := engine.New(engine.Options{
		Context: device.context, Model: model, Tokenizer: m.tokenizer, ModelName: m.about.Name, ContextLength: m.about.ContextLength,
		MaxTokens: engine.MaxOutputTokens, MaxJobs: 1, Queue: 0, PrefillChunk: prefillChunk, InferenceTimeout: 24 * time.Hour,
		ResidencyInterval: time.Minute, KeepEnded: 1, KeepFor: time.Hour,
		Logger: slog.New(slog.DiscardHandler), Metrics: metrics.New(time.Now()),
	})
	if err != nil {
		return err
	}
	defer e.Close()
	s := &speaker{engine: e, template: template, system: f.system, parameters: f.parameters, stdout: stdout, stderr: stderr}
	if len(arguments) == 0 {
		return s.converse(ctx, stdin)
	}
	_, err = s.answer(ctx, nil, prompt)
	var failed *problem.Problem
	if errors.As(err, &failed) {
		return errors.New(failed.Message)
	}
	return err
}

// check settles the flags that need no model, and reads the prompt.
func (f *runFlags) check(arguments []string, stdin io.Reader) (prompt string, err error) {
	if len(f.stop) > engine.MaxStopSequences {
		return "", usageError{fmt.Errorf("--stop may be given at most %d times", engine.MaxStopSequences)}
	}
	for _, stop := range f.stop {
		if stop == "" {
			return "", usageError{errors.New("--stop must not be empty")}
		}
	}
	f.parameters.Stop = f.stop
	if f.raw && f.system != "" {
		return "", usageError{errors.New("--system needs a chat template, and --raw leaves it out")}
	}
	if len(arguments) == 0 {
		return "", nil
	}
	if arguments[0] != fromStdin {
		return arguments[0], nil
	}
	text, err := io.ReadAll(io.LimitReader(stdin, engine.MaxPromptCharacters*4+1))
	if err != nil {
		return "", fmt.Errorf("read the prompt from stdin: %w", err)
	}
	prompt = strings.TrimSuffix(string(text), "\n")
	if prompt == "" || len([]rune(prompt)) > engine.MaxPromptCharacters {
		return "", fmt.Errorf("stdin must hold a prompt of 1 to %d characters", engine.MaxPromptCharacters)
	}
	return prompt, nil
}

// template gives the chat template to use, nil for none.
func (f *runFlags) template(m *modelFile, stderr io.Writer) (*api.ChatTemplate, error) {
	switch {
	case f.raw:
		return nil, nil
	case m.about.Chat != nil:
		return m.about.Chat, nil
	case f.system != "":
		return nil, usageError{fmt.Errorf("--system needs a chat template, and the model %s has none that can be used", m.about.Name)}
	case m.about.ChatProblem != nil:
		fmt.Fprintf(stderr, "the model's template is left out, as with --raw: %v\n", m.about.ChatProblem)
	}
	return nil, nil
}

// speaker asks the model and shows what it says.
type speaker struct {
	engine         *engine.Engine
	template       *api.ChatTemplate // nil: prompts go in as they are
	system         string
	parameters     engine.Parameters
	stdout, stderr io.Writer
}

// answer writes the model's answer to a prompt after a history, and returns it. It ends early if ctx does.
func (s *speaker) answer(ctx context.Context, history []api.Message, prompt string) (string, error) {
	request := engine.Request{JobID: "run", CorrelationID: "run", Prompt: prompt, Parameters: s.parameters}
	if s.template != nil {
		var messages []api.Message
		if s.system != "" {
			messages = append(messages, api.Message{Role: "system", Content: s.system})
		}
		messages = append(append(messages, history...), api.Message{Role: "user", Content: prompt})
		rendered, err := s.template.Prompt(messages)
		if err != nil {
			return "", err
		}
		request.Prompt, request.Said = rendered.Text, rendered.Said
	}
	job, err := s.engine.Submit(request)
	if err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { job.Cancel(problem.New(problem.Cancelled, "interrupted")) })()
	return s.show(job)
}

// show writes the text of a job as it comes, and a line of figures on stderr at its end.
func (s *speaker) show(job *engine.Job) (string, error) {
	var text strings.Builder
	for position := 0; ; {
		events, ended, more := job.Since(position)
		for _, event := range events {
			switch event := event.(type) {
			case engine.Token:
				text.WriteString(event.Text)
				if _, err := io.WriteString(s.stdout, event.Text); err != nil {
					job.Cancel(problem.New(problem.Cancelled, "the output cannot be written"))
					return "", err
				}
			case engine.Failed:
				return text.String(), &problem.Problem{Code: event.Code, Message: event.Message}
			case engine.End:
				fmt.Fprintln(s.stdout)
				fmt.Fprintf(s.stderr, "%d tokens after a prompt of %d, %s; prefill %.1f ms, %.1f tokens/s; seed %d\n",
					event.TokensOut, job.PromptTokens(), event.StopReason, event.PrefillMS, event.TokensPerSecond, job.Seed())
			}
		}
		position += len(events)
		if ended {
			return text.String(), nil
		}
		<-more
	}
}
