package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"touchstone/reports"
	"touchstone/reports/harmless"
	"touchstone/reports/soak"
)

func mergeCommand() *cobra.Command {
	var out string
	var requireComplete bool
	command := &cobra.Command{
		Use:   "merge --out DIR LEDGER...",
		Short: "Join the ledgers of a soak's shards into one report",
		Long: `Joins ledgers of one soak, each given as a file or as the folder that holds its ledger.jsonl, and writes the
merged ledger, its canonical form and the report of all runs to DIR. Ledgers of different soaks, and runs that
two ledgers hold, are refused. Exits 1 if the merged soak failed.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, paths []string) error {
			ledgers := make([]soak.Contents, len(paths))
			for i, path := range paths {
				var err error
				if ledgers[i], err = soak.ReadLedger(ledgerFile(path)); err != nil {
					return err
				}
			}
			merged, err := soak.Merge(ledgers...)
			if err != nil {
				return err
			}
			report, err := soak.WriteMerged(out, merged)
			if err != nil {
				return err
			}
			fmt.Fprintf(command.OutOrStdout(), "%s\n%s\n", report.Line, filepath.Join(out, soak.MarkdownFile))
			if report.Verdict == "FAIL" || requireComplete && report.Verdict != "PASS" {
				return errors.New("the merged soak is " + report.Verdict)
			}
			return nil
		},
	}
	command.Flags().StringVar(&out, "out", "", "folder of the merged report")
	command.Flags().BoolVar(&requireComplete, "require-complete", false, "exit 1 also if runs are missing")
	_ = command.MarkFlagRequired("out") // the flag exists
	return command
}

// ledgerFile lets a ledger be named by its folder.
func ledgerFile(path string) string {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return filepath.Join(path, soak.LedgerFile)
	}
	return path
}

// isSoak tells whether the folder holds the report of a soak.
func isSoak(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, soak.LedgerFile))
	return err == nil
}

// verifySoak computes the report of a soak again from its ledger, and compares the subject with the files that were given.
func verifySoak(out io.Writer, dir string, options reports.VerifyOptions) error {
	if options.Key != nil || !options.NotBefore.IsZero() {
		return errors.New("the ledger of a soak is neither signed nor dated as a whole: leave out --key and --not-before")
	}
	report, differences, err := soak.Verify(dir)
	if err != nil {
		return err
	}
	for _, file := range []struct{ name, given, recorded string }{
		{"worker", options.WorkerSHA256, report.Subject.WorkerSHA256}, {"model", options.ModelSHA256, report.Subject.ModelSHA256},
	} {
		if file.given != "" && file.given != file.recorded {
			differences = append(differences, fmt.Sprintf("the %s that was soaked has the sha256 %q, the given file %s", file.name, file.recorded, file.given))
		}
	}
	if n := len(differences); n > 0 {
		fmt.Fprintf(out, "REFUSED: %d differences in %s\n", n, dir)
		for _, difference := range differences {
			fmt.Fprintln(out, "-", harmless.Line(difference))
		}
		return errors.New("the report is refused")
	}
	fmt.Fprintf(out, "ACCEPTED: it agrees with its ledger, which does not say who made it\n%s\n", report.Line)
	return nil
}
