package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"touchstone/native"
	"touchstone/native/cpu/machine"
	"touchstone/native/gguf"
	"touchstone/worker/internal/bench"
)

// benchFlags are the settings of `worker bench`.
type benchFlags struct {
	deviceFlags
	model string
	plan  bench.Plan
	json  bool
	plot  string
}

func newBench() *cobra.Command {
	f := &benchFlags{}
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure load, prefill and decode of a model", Args: takes(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	checked(flags, &f.model, "model", "PATH", "", "GGUF file (default: "+defaultModel+")", path)
	checked(flags, &f.plan.Prefill, "prefill", "N,N,...", "128,512", "lengths of prompts; none: no prefill", integers(1))
	checked(flags, &f.plan.Decode, "decode", "N,N,...", "0", "positions to decode from; none: no decode", integers(0))
	checked(flags, &f.plan.DecodeTokens, "decode-tokens", "N", "32", "tokens to decode from each position", integer(1, 1<<20))
	checked(flags, &f.plan.Repeats, "repeats", "N", "5", "measurements of each prefill, of which the median counts", integer(1, 1000))
	flags.BoolVar(&f.json, "json", false, "print JSON instead of tables")
	checked(flags, &f.plot, "plot", "FILE", "", "write the curves of decode and prefill to this SVG file", path)
	f.define(flags)
	return cmd
}

// integers reads a list such as 1,32,1024, or "none" for an empty one.
func integers(least int64) func(string) ([]int, error) {
	one := integer(least, 1<<24)
	return func(text string) ([]int, error) {
		if text == "none" {
			return nil, nil
		}
		var numbers []int
		for part := range strings.SplitSeq(text, ",") {
			number, err := one(part)
			if err != nil {
				return nil, fmt.Errorf("must be integers from %d on, separated by commas, or none", least)
			}
			numbers = append(numbers, number)
		}
		return numbers, nil
	}
}

// run measures the plan and writes what it found.
func (f *benchFlags) run(ctx context.Context, stdout, stderr io.Writer) error {
	m, err := openModel(f.model)
	if err != nil {
		return err
	}
	defer m.Close()
	if positions := f.plan.Positions(); positions > m.about.ContextLength {
		return usageError{fmt.Errorf("--prefill and --decode take %d positions, but the context of %s has %d", positions, m.about.Name, m.about.ContextLength)}
	}
	device, err := f.open()
	if err != nil {
		return err
	}
	defer device.Close()
	report := bench.Report{Worker: "touchstone " + Version, Model: m.about.Name, Quant: m.about.QuantKind, Device: device.properties.Name}
	if device.properties.Kind == native.DeviceCPU {
		report.ISA, report.Threads = device.properties.ISA, f.threads
		if report.Threads == 0 {
			report.Threads = runtime.NumCPU()
		}
		rates := machine.Measure(report.Threads)
		report.FMARate, report.ReadBandwidth = rates.FMA, rates.Read
	}
	report.FileBytes = tensorBytes(&m.description)
	report.TokenOperations, report.TokenBytes = tokenCosts(m.File)
	m.description.KVCacheBytes = kvCacheBytes(&m.description, 1, device.properties.MemoryFree)
	begin := time.Now()
	model, err := loadModel(ctx, device, m, newProgress(stderr, slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	defer model.Close()
	report.LoadSeconds = time.Since(begin).Seconds()
	info, err := model.Info()
	if err != nil {
		return err
	}
	report.WeightsBytes = info.WeightsBytes
	progress := func(what string) {
		if isTerminal(stderr) {
			fmt.Fprintln(stderr, what)
		}
	}
	report.Prefill, report.Decode, err = bench.Run(ctx, model, m.about.VocabSize, info.MaxRows, f.plan, progress)
	if err != nil {
		return err
	}
	if err := f.writePlot(report); err != nil {
		return err
	}
	if f.json {
		return report.JSON(stdout)
	}
	return report.Markdown(stdout)
}

func (f *benchFlags) writePlot(report bench.Report) error {
	if f.plot == "" {
		return nil
	}
	file, err := os.Create(f.plot)
	if err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	if err := errors.Join(report.SVG(file), file.Close()); err != nil {
		return fmt.Errorf("--plot: %w", err)
	}
	return nil
}

// tokenCosts gives the operations of a prompt's token in the linear layers of the blocks (attention and the head, which is
// evaluated for the last token alone, do not count), and the bytes of weights in the file that a decoded token needs: all
// matrices, but not a table of embeddings beside a head of its own.
func tokenCosts(file *gguf.File) (operations, bytes float64) {
	const table, head = "token_embd.weight", "output.weight"
	ownHead := false
	for _, tensor := range file.Tensors {
		ownHead = ownHead || tensor.Name == head
	}
	for _, tensor := range file.Tensors {
		if len(tensor.Shape) < 2 || tensor.Name == "position_embd.weight" {
			continue
		}
		if strings.HasPrefix(tensor.Name, "blk.") {
			operations += 2 * float64(elements(tensor))
		}
		if tensor.Name != table || !ownHead {
			bytes += float64(tensor.Bytes)
		}
	}
	return operations, bytes
}
