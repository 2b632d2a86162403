package command

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"touchstone/native"
)

func newDevices() *cobra.Command {
	f := &deviceFlags{}
	cmd := &cobra.Command{
		Use: "devices", Short: "List what can compute", Args: takes(""),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.list(cmd.OutOrStdout()) },
	}
	f.defineLibraries(cmd.Flags())
	return cmd
}

// list writes the devices of the built-in library and of the CUDA plugin if it is there, or those of --native-lib.
func (f *deviceFlags) list(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "DEVICE\tNAME\tARCHITECTURE\tMEMORY\tFREE\tLIBRARY")
	libraries := []string{f.nativeLib}
	if f.nativeLib == "" {
		if cuda, given := f.cudaPath(); given || isFile(cuda) {
			libraries = append(libraries, cuda)
		}
	}
	for _, name := range libraries {
		if err := listLibrary(table, name); err != nil {
			return errors.Join(table.Flush(), err)
		}
	}
	return table.Flush()
}

func listLibrary(w io.Writer, name string) error {
	library, err := openLibrary(name)
	if err != nil {
		return err
	}
	devices, err := library.Devices()
	for _, d := range devices {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", deviceName(d), d.Name, architecture(d), humanize.IBytes(d.MemoryTotal),
			humanize.IBytes(d.MemoryFree), library.Version())
	}
	return errors.Join(err, library.Close())
}

func architecture(d native.DeviceProperties) string {
	if d.Kind == native.DeviceCUDA {
		return fmt.Sprintf("sm_%d%d", d.ComputeMajor, d.ComputeMinor)
	}
	return d.ISA
}
