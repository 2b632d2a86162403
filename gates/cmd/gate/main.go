// Command gate runs gates and lists their requirements, and verifies, renders and compares their reports.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"touchstone/gates/catalogue"
	"touchstone/gates/suite"
	"touchstone/reports"
	"touchstone/reports/attest"
	"touchstone/reports/harmless"
	"touchstone/reports/requirement"
	"touchstone/reports/verdict"
	"touchstone/suites/integration/misbehave"
)

func main() {
	misbehave.IfAsked()
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "gate:", harmless.Text(err.Error()))
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "gate",
		Short: "Run gates; list their requirements; verify, render and compare their reports",
		Long: `Runs gates on LLM inference workers; lists their requirements; verifies, renders and compares their reports.
A gate is a list of requirements: "gate list" prints all of them.`,
		Example: `  gate run gate1 --url http://127.0.0.1:8080    # test a worker; the report goes to reports/out/gate1
  gate verify reports/out/gate1                 # compute the report again from its evidence`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), listCommand(), verifyCommand(), renderCommand(), diffCommand(), teethCommand(), mergeCommand(), minimiseCommand())
	return root
}

func listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [GATE...]",
		Short: "Print the requirements of every gate, or of those named",
		RunE: func(command *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = gateNames()
			}
			for i, name := range names {
				if i > 0 {
					fmt.Fprintln(command.OutOrStdout())
				}
				_, registry, err := gateNamed(name)
				if err != nil {
					return err
				}
				if err := list(command.OutOrStdout(), registry); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// gateNames are the names of all gates.
func gateNames() []string {
	var names []string
	for _, g := range catalogue.Gates {
		names = append(names, g.Name)
	}
	return names
}

// gateNamed is what the harness knows of a gate, and its registry.
func gateNamed(name string) (known reports.Known, registry *requirement.Registry, err error) {
	g, err := suite.Find(catalogue.Gates, name)
	if err != nil {
		return known, nil, err
	}
	if known, err = g.Known(); err == nil {
		registry, err = requirement.Load(known.Registry)
	}
	return known, registry, err
}

func list(out io.Writer, registry *requirement.Registry) error {
	fmt.Fprintf(out, "%s %s, registry %s (sha256 %.12s), %d requirements\n\n", registry.Gate, registry.Title, registry.Version, registry.SHA256, len(registry.Rows))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tLEVEL\tLAYER\tREQUIREMENT\tNEEDS\tCLAIMS\tFAULTS THAT MUST TURN IT RED")
	for _, row := range registry.Rows {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.ID, row.Level, row.Layer, row.Title,
			strings.Join(row.Needs, " "), strings.Join(row.Claims, " "), strings.Join(row.Faults, " "))
		if row.Waiver != nil {
			fmt.Fprintf(table, "\t\t\twaived by %s until %s: %s\t\t\t\n", row.Waiver.Owner, row.Waiver.Expires, row.Waiver.Reason)
		}
	}
	return table.Flush()
}

type verifyFlags struct {
	key, registry, teeth, worker, model, notBefore string
}

func verifyCommand() *cobra.Command {
	var flags verifyFlags
	command := &cobra.Command{
		Use:   "verify DIR",
		Short: "Compute a report again from its evidence and say what differs",
		Long: `Computes the report in DIR again from what ran (ginkgo.json), what had to run (registry.yaml), the subject
(run.json) and the evidence, compares every file with it, and says each difference. Exits 1 on any.

Without --key an unsigned report that was made up whole, without a contradiction, is accepted: only a signature says
who made a report. A signed report needs --key.`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			options, err := flags.options()
			if err != nil {
				return err
			}
			return verify(command.OutOrStdout(), args[0], options)
		},
	}
	command.Flags().StringVar(&flags.key, "key", "", "file with the public ed25519 key (PEM) that must have signed the report")
	command.Flags().StringVar(&flags.registry, "registry", "", "file with the registry to compare with, for a gate that this harness does not have")
	command.Flags().StringVar(&flags.teeth, "teeth", "", "file of faults that the report was made with, where that is not this harness's own")
	command.Flags().StringVar(&flags.worker, "worker", "", "file of the worker that must have been tested")
	command.Flags().StringVar(&flags.model, "model", "", "file of the model that must have been used")
	command.Flags().StringVar(&flags.notBefore, "not-before", "", "time (RFC 3339) or date before which the run must not have started")
	return command
}

func (f verifyFlags) options() (options reports.VerifyOptions, err error) {
	options.Gates = map[string]reports.Known{}
	for _, g := range catalogue.Gates {
		if options.Gates[g.Name], err = g.Known(); err != nil {
			return options, err
		}
	}
	if f.registry != "" {
		text, err := os.ReadFile(f.registry)
		if err != nil {
			return options, err
		}
		registry, err := requirement.Load(text)
		if err != nil {
			return options, fmt.Errorf("%s: %w", f.registry, err)
		}
		options.Gates = map[string]reports.Known{registry.Gate: {Registry: text}}
	}
	if f.teeth != "" {
		text, err := os.ReadFile(f.teeth)
		if err != nil {
			return options, err
		}
		teeth, err := verdict.ReadTeeth(text)
		if err != nil {
			return options, fmt.Errorf("%s: %w", f.teeth, err)
		}
		for name, known := range options.Gates {
			known.Teeth = teeth
			options.Gates[name] = known
		}
	}
	if f.key != "" {
		text, err := os.ReadFile(f.key)
		if err != nil {
			return options, err
		}
		if options.Key, err = attest.PublicKey(text); err != nil {
			return options, fmt.Errorf("%s: %w", f.key, err)
		}
	}
	if options.WorkerSHA256, err = digestOfFile(f.worker); err != nil {
		return options, err
	}
	if options.ModelSHA256, err = digestOfFile(f.model); err != nil {
		return options, err
	}
	if f.notBefore != "" {
		if options.NotBefore, err = reports.ParseTime(f.notBefore); err != nil {
			return options, fmt.Errorf("--not-before %s: %w", f.notBefore, err)
		}
	}
	return options, nil
}

func digestOfFile(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func verify(out io.Writer, dir string, options reports.VerifyOptions) error {
	if isSoak(dir) {
		return verifySoak(out, dir, options)
	}
	verification, err := reports.Verify(dir, options)
	if err != nil {
		return err
	}
	if n := len(verification.Differences); n > 0 {
		fmt.Fprintf(out, "REFUSED: %d differences in %s\n", n, dir)
		for _, difference := range verification.Differences {
			fmt.Fprintln(out, "-", difference)
		}
		return errors.New("the report is refused")
	}
	signature := "not signed: it agrees with itself, which does not say who made it"
	if verification.Signed {
		signature = "signed by the given key"
	}
	fmt.Fprintf(out, "ACCEPTED: %s\n%s\n", signature, verification.Report.Result.Line)
	return nil
}

func renderCommand() *cobra.Command {
	var format string
	formats := map[string]string{"markdown": reports.ChecklistFile, "json": reports.ReportFile, "junit": reports.JUnitFile, "html": reports.HTMLFile}
	command := &cobra.Command{
		Use:   "render DIR",
		Short: "Compute a report again and print it as markdown, json, junit or html",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			name, found := formats[format]
			if !found {
				return fmt.Errorf("there is no format %q", format)
			}
			report, err := reports.Read(args[0])
			if err != nil {
				return err
			}
			files, err := report.Render()
			if err != nil {
				return err
			}
			_, err = command.OutOrStdout().Write(files[name])
			return err
		},
	}
	command.Flags().StringVar(&format, "format", "markdown", "markdown, json, junit or html")
	return command
}

func diffCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "diff A B",
		Short: "Say what changed from one report to another, per row and figure",
		Args:  cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			before, err := reports.Read(args[0])
			if err != nil {
				return err
			}
			after, err := reports.Read(args[1])
			if err != nil {
				return err
			}
			out := command.OutOrStdout()
			fmt.Fprintf(out, "before: %s\nafter:  %s\n", before.Result.Line, after.Result.Line)
			changes := reports.Changes(before.Result, after.Result)
			if len(changes) == 0 {
				fmt.Fprintln(out, "\nnothing changed")
				return nil
			}
			table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table)
			for _, change := range changes {
				fmt.Fprintf(table, "%s\t%s\n", change.Where, change.Text)
			}
			return table.Flush()
		},
	}
}
