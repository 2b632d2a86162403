package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"touchstone/reports"
	"touchstone/reports/requirement"
)

func teethCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "teeth [GATE...]",
		Short: "Say which faults were seen to turn each row red, and whether that still holds",
		Long: `Prints for each row of every gate, or of those named, how many of its faults turned it red when they were last
played. Exits 1 if specs, faults or registry have changed since, or if a fault survived: then play them again with
make teeth.`,
		RunE: func(command *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = gateNames()
			}
			var problems []error
			for _, name := range names {
				known, registry, err := gateNamed(name)
				if err != nil {
					return err
				}
				problems = append(problems, teeth(command.OutOrStdout(), known, registry))
			}
			return errors.Join(problems...)
		},
	}
}

// teeth prints the outcome of a gate's faults; the error says why it does not hold.
func teeth(out io.Writer, known reports.Known, registry *requirement.Registry) error {
	if known.Teeth == nil || known.Teeth.SourcesSHA256 != known.SourcesSHA256 {
		return fmt.Errorf("%s: the outcome of the faults is stale: specs, faults or registry have changed since they were played; "+
			"run make teeth", registry.Gate)
	}
	var survived []string
	faults := 0
	for _, row := range registry.Rows {
		killed := 0
		for _, fault := range row.Faults {
			faults++
			if slices.Contains(known.Teeth.Rows[row.ID].Killed, fault) {
				killed++
			} else {
				survived = append(survived, row.ID+" "+fault)
			}
		}
		fmt.Fprintf(out, "%s  %d/%d  %s\n", row.ID, killed, len(row.Faults), row.Title)
	}
	fmt.Fprintf(out, "%s: %d of %d faults killed, sources %.12s\n", registry.Gate, faults-len(survived), faults, known.SourcesSHA256)
	if len(survived) > 0 {
		return fmt.Errorf("%s: these faults were not seen to turn their rows red: %s", registry.Gate, strings.Join(survived, ", "))
	}
	return nil
}
