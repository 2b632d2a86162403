// Package command is the worker's command line.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Version of the worker.
const Version = "1.0.0"

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the command could not do what it was asked for
	exitUsage  = 2 // the command line is wrong
)

// usageError is a command line that is wrong.
type usageError struct{ error }

// Main runs the command line and returns the exit code. A failure is one line on stderr.
func Main(arguments []string, stdout, stderr io.Writer) int {
	ctx, stop := untilSignal(stderr)
	defer stop()
	root := newRoot()
	root.SetArgs(arguments)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "worker:", strings.ReplaceAll(err.Error(), "\n", " "))
	if errors.As(err, &usageError{}) {
		return exitUsage
	}
	return exitFailed
}

// hurryKey leads from a command's context to the one that ends when the command must not wait for anything any more.
type hurryKey struct{}

// hurried gives the context that ends at the second signal.
func hurried(ctx context.Context) context.Context { return ctx.Value(hurryKey{}).(context.Context) }

// signalsKey leads from a command's context to the channel of the signals that end it.
type signalsKey struct{}

// interrupts gives the command SIGINT, which does not end it any more, until release is called.
func interrupts(ctx context.Context) (own <-chan os.Signal, release func()) {
	ending := ctx.Value(signalsKey{}).(chan os.Signal)
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, syscall.SIGINT)
	signal.Stop(ending)
	signal.Notify(ending, syscall.SIGTERM)
	return interrupts, func() {
		signal.Notify(ending, syscall.SIGINT)
		signal.Stop(interrupts)
	}
}

// untilSignal gives a context that ends at the first SIGTERM or SIGINT; the one that hurried gives for it ends at the
// second, and the third ends the process. stop ends the watch.
func untilSignal(stderr io.Writer) (ctx context.Context, stop func()) {
	hurry, cancelHurry := context.WithCancel(context.Background())
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), hurryKey{}, hurry))
	signals := make(chan os.Signal, 3)
	ctx = context.WithValue(ctx, signalsKey{}, signals)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, act := range []func(){cancel, cancelHurry, func() {
			fmt.Fprintln(stderr, "worker: ended at once by a third signal")
			os.Exit(exitFailed)
		}} {
			select {
			case <-signals:
				act()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		<-ended
		cancel()
		cancelHurry()
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "worker", Short: "An inference worker for GGUF models", Version: Version,
		SilenceUsage: true, SilenceErrors: true,
		Args: func(cmd *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				return usageError{fmt.Errorf("%q is no command%s; there are serve, run, devices, inspect and bench",
					arguments[0], meant(arguments[0], commandNames(cmd), ""))}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		var unknown *pflag.NotExistError
		if errors.As(err, &unknown) {
			err = fmt.Errorf("%w%s", err, meant(unknown.GetSpecifiedName(), flagNames(cmd), "--"))
		}
		return usageError{err}
	})
	root.AddCommand(newServe(), newRun(), newDevices(), newInspect(), newBench())
	return root
}

// takes makes a check of the number of arguments; what names the one that is wanted, or is empty.
func takes(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, arguments []string) error {
		switch {
		case what == "" && len(arguments) > 0:
			return usageError{fmt.Errorf("%s takes no arguments, but %q was given", cmd.Name(), arguments[0])}
		case what != "" && (len(arguments) != 1 || arguments[0] == ""):
			return usageError{fmt.Errorf("%s takes one argument: %s", cmd.Name(), what)}
		}
		return nil
	}
}
