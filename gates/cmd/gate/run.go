package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"touchstone/gates/catalogue"
	"touchstone/gates/suite"
	"touchstone/reports/gate"
	"touchstone/reports/harmless"
	"touchstone/suites/target"
)

// ginkgoFlags are those of Ginkgo that `gate run` has too, under the same names.
var ginkgoFlags = []struct{ name, usage string }{
	{"focus", "only specs whose text matches this regular expression"},
	{"label-filter", "only specs with these labels, such as a row (HTTP-04) or a claim (stream.order)"},
	{"seed", "seed of the order of specs"},
}

func runCommand() *cobra.Command {
	flags := flag.NewFlagSet("target", flag.ContinueOnError)
	profile := target.Flags(flags)
	var verbose, complete bool
	chosen := map[string]*string{}
	command := &cobra.Command{
		Use:   "run GATE",
		Short: "Run a gate on a worker and write its report",
		Long: `Runs a gate and writes its report, to reports/out/GATE below this folder unless --report-dir says otherwise. The reference
library is part of this program: what needs no compiler needs nothing else. Without --worker-url, --worker-cmd or --profile
the bundled worker is tested, which lies beside this program or is built by Go inside a checkout. --url is short for --worker-url.

Exits 1 for FAIL, for INCOMPLETE with --require-complete, and where no row ran. "gate list GATE" prints the rows.`,
		Example: `  gate run gate1 --url http://127.0.0.1:8080
  gate run openai --worker-cmd "llama-server -m {model} --port {port}" --model model.gguf
  gate run gate1 --label-filter HTTP-04`,
		Args: func(command *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("want the name of one gate: %s", strings.Join(gateNames(), ", "))
			}
			return nil
		},
		ValidArgs: gateNames(),
		RunE: func(command *cobra.Command, args []string) error {
			g, err := suite.Find(catalogue.Gates, args[0])
			if err != nil {
				return err
			}
			if command.Flags().Changed("api") {
				return fmt.Errorf("--api: leave it out, the gate %s has an interface of its own", g.Name)
			}
			executable, err := os.Executable()
			if err != nil {
				return err
			}
			folder, err := os.Getwd()
			if err != nil {
				return err
			}
			for name, value := range chosen {
				if *value != "" {
					if err := flag.CommandLine.Set("ginkgo."+name, *value); err != nil {
						return fmt.Errorf("--%s: %w", name, err)
					}
				}
			}
			if verbose {
				if err := flag.CommandLine.Set("ginkgo.v", "true"); err != nil {
					return err
				}
			}
			if complete {
				if err := os.Setenv("GATE_REQUIRE_COMPLETE", "true"); err != nil {
					return err
				}
			}
			program := &program{}
			suite.Run(program, g, profile, suite.Runner{
				Again: func(settings []string) string { return gate.ProgramRerun(g.Name, settings...) },
				Self:  []string{executable, "run", g.Name, "--seed", "1"}, Folder: folder,
			})
			if program.failed {
				os.Exit(1)
			}
			return nil
		},
	}
	command.Flags().AddGoFlagSet(flags)
	command.Flags().Lookup("api").Hidden = true // known to the soak alone
	for _, f := range ginkgoFlags {
		chosen[f.name] = command.Flags().String(f.name, "", f.usage)
	}
	command.Flags().BoolVarP(&verbose, "verbose", "v", false, "print every spec")
	command.Flags().BoolVar(&complete, "require-complete", false, "INCOMPLETE exits 1 (GATE_REQUIRE_COMPLETE)")
	command.Flags().SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "url" {
			name = "worker-url"
		}
		return pflag.NormalizedName(name)
	})
	return command
}

// program is a gate's TB outside of a test.
type program struct{ failed bool }

func (p *program) Helper() {}

// Error notes that the verdict asks for a failure; the verdict itself was printed.
func (p *program) Error(...any) { p.failed = true }

// Fatal ends the program: nothing could be run.
func (p *program) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, "gate:", harmless.Text(fmt.Sprint(args...)))
	os.Exit(1)
}

// Fatalf is Fatal with a format.
func (p *program) Fatalf(format string, args ...any) { p.Fatal(fmt.Sprintf(format, args...)) }
