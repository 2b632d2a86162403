package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"touchstone/reports/soak"
	soaking "touchstone/suites/soak"
	"touchstone/suites/target"
)

func minimiseCommand() *cobra.Command {
	var index, repeats int
	flags := flag.NewFlagSet("target", flag.ContinueOnError)
	configured := target.Flags(flags)
	command := &cobra.Command{
		Use:   "minimise LEDGER",
		Short: "Shrink a run of a soak that diverged to the fewest factors that still diverge",
		Long: `Executes a run of the ledger again with ever fewer factors away from their baseline. A candidate is executed
until it diverges, by default as often as shows the failure rate that the ledger saw with 95 % probability.
The subject is given as for the soak.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			folder, err := os.Getwd()
			if err != nil {
				return err
			}
			profile, err := configured(folder)
			if err != nil {
				return err
			}
			ledger, err := soak.ReadLedger(ledgerFile(args[0]))
			if err != nil {
				return err
			}
			run, err := diverged(&ledger, index)
			if err != nil {
				return err
			}
			report := soak.NewReport(&ledger)
			if repeats == 0 {
				repeats = soak.RunsToSee(float64(max(report.Diverged, 1)) / float64(report.Runs))
			}
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return minimise(ctx, command.OutOrStdout(), profile, &ledger, run, repeats)
		},
	}
	command.Flags().IntVar(&index, "run", -1, "index of the run (default: the first that diverged)")
	command.Flags().IntVar(&repeats, "repeats", 0, "executions of each candidate (default: from the ledger's failure rate)")
	command.Flags().AddGoFlagSet(flags)
	return command
}

// diverged is the run with the index, or the first one that diverged.
func diverged(ledger *soak.Contents, index int) (soak.Run, error) {
	records := slices.SortedFunc(slices.Values(ledger.Records), func(a, b soak.Record) int { return a.Index - b.Index })
	for _, record := range records {
		if record.Index == index || index < 0 && record.Verdict == soak.Diverged {
			return record.Run, nil
		}
	}
	if index < 0 {
		return soak.Run{}, errors.New("no run of the ledger diverged")
	}
	return soak.Run{}, fmt.Errorf("the ledger has no run %d", index)
}

func minimise(ctx context.Context, out io.Writer, profile target.Profile, ledger *soak.Contents, run soak.Run, repeats int) (err error) {
	subject, err := target.Prepare(ctx, profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, subject.Close(context.WithoutCancel(ctx))) }()
	executor, err := soaking.NewExecutor(ctx, subject)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, executor.Close()) }()
	if soaked := ledger.Header.Subject; executor.Subject() != soaked {
		fmt.Fprintf(out, "note: the ledger is of %+v, this is %+v\n", soaked, executor.Subject())
	}
	minimum, err := soaking.Minimise(ctx, executor, ledger, run, repeats)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, minimum)
	return nil
}
