package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"touchstone/worker/engine"
	"touchstone/worker/internal/metrics"
	"touchstone/worker/internal/problem"
)

// runFlags are the settings of `worker run`.
type runFlags struct {
	deviceFlags
	model      string
	parameters engine.Parameters
	stop       []string
}

func newRun() *cobra.Command {
	f := &runFlags{parameters: engine.DefaultParameters()}
	cmd := &cobra.Command{
		Use: `run "PROMPT"`, Short: "Generate text on the terminal", Args: takes("the prompt"),
		RunE: func(cmd *cobra.Command, arguments []string) error {
			return f.run(cmd.Context(), arguments[0], cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	p := &f.parameters
	checked(flags, &f.model, "model", "PATH", "", "GGUF file (default: "+defaultModel+")", path)
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
	return cmd
}

// run generates text and writes it as it comes.
func (f *runFlags) run(ctx context.Context, prompt string, stdout, stderr io.Writer) error {
	if len(f.stop) > engine.MaxStopSequences {
		return usageError{fmt.Errorf("--stop may be given at most %d times", engine.MaxStopSequences)}
	}
	for _, stop := range f.stop {
		if stop == "" {
			return usageError{errors.New("--stop must not be empty")}
		}
	}
	f.parameters.Stop = f.stop
	m, err := openModel(f.model)
	if err != nil {
		return err
	}
	defer m.Close()
	if f.parameters.TopK > m.about.VocabSize {
		return usageError{fmt.Errorf("--top-k must be at most %d, the vocabulary of %s", m.about.VocabSize, m.about.Name)}
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
	job, err := e.Submit(engine.Request{JobID: "run", CorrelationID: "run", Prompt: prompt, Parameters: f.parameters})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { job.Cancel(problem.New(problem.Cancelled, "interrupted")) })()
	return show(job, stdout, stderr)
}

// show writes the text of a job as it comes, and a line of figures on stderr at its end.
func show(job *engine.Job, stdout, stderr io.Writer) error {
	for position := 0; ; {
		events, ended, more := job.Since(position)
		for _, event := range events {
			switch event := event.(type) {
			case engine.Token:
				if _, err := io.WriteString(stdout, event.Text); err != nil {
					job.Cancel(problem.New(problem.Cancelled, "the output cannot be written"))
					return err
				}
			case engine.Failed:
				return errors.New(event.Message)
			case engine.End:
				fmt.Fprintln(stdout)
				fmt.Fprintf(stderr, "%d tokens after a prompt of %d, %s; prefill %.1f ms, %.1f tokens/s; seed %d\n",
					event.TokensOut, job.PromptTokens(), event.StopReason, event.PrefillMS, event.TokensPerSecond, job.Seed())
			}
		}
		position += len(events)
		if ended {
			return nil
		}
		<-more
	}
}
