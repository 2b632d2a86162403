package command

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"touchstone/native/gguf"
)

func newInspect() *cobra.Command {
	return &cobra.Command{
		Use: "inspect FILE", Short: "Tell what is in a GGUF file", Args: takes("a GGUF file"),
		RunE: func(cmd *cobra.Command, arguments []string) error { return inspect(cmd.OutOrStdout(), arguments[0]) },
	}
}

// inspect writes a file's metadata and tensors.
func inspect(w io.Writer, name string) error {
	file, err := gguf.Open(name)
	if err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	defer file.Close()
	parameters, size := uint64(0), uint64(0)
	for _, tensor := range file.Tensors {
		parameters += elements(tensor)
		size += tensor.Bytes
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "file\t%s\n", name)
	fmt.Fprintf(table, "format\tGGUF %d\n", file.Version)
	fmt.Fprintf(table, "weights\t%s parameters, %s, mostly %s\n", humanize.SIWithDigits(float64(parameters), 1, ""),
		humanize.IBytes(size), quantKind(file))
	fmt.Fprintf(table, "\nMETADATA\t\n")
	for _, key := range file.Keys() {
		text, err := describeMetadata(file, key)
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\n", key, text)
	}
	fmt.Fprintf(table, "\nTENSOR\tTYPE\tSHAPE\tBYTES\n")
	for _, tensor := range file.Tensors {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\n", tensor.Name, tensor.Type, strings.Trim(fmt.Sprint(tensor.Shape), "[]"), tensor.Bytes)
	}
	return table.Flush()
}

func elements(tensor gguf.Tensor) uint64 {
	n := uint64(1)
	for _, length := range tensor.Shape {
		n *= length
	}
	return n
}

// describeMetadata gives a value on one line, long ones in part.
func describeMetadata(file *gguf.File, key string) (string, error) {
	kind, isArray, count, err := file.Kind(key)
	if err != nil {
		return "", err
	}
	if isArray {
		return fmt.Sprintf("%d × %s", count, kind), nil
	}
	switch kind {
	case gguf.KindString:
		text, err := file.String(key)
		return quoteShort(text), err
	case gguf.KindBool:
		b, err := file.Bool(key)
		return fmt.Sprint(b), err
	case gguf.KindFloat32, gguf.KindFloat64:
		x, err := file.Float64(key)
		return fmt.Sprintf("%g", x), err
	}
	if n, err := file.Uint64(key); err == nil {
		return fmt.Sprint(n), nil
	}
	return "negative " + kind.String(), nil
}

func quoteShort(text string) string {
	const longest = 80
	if utf8.RuneCountInString(text) <= longest {
		return fmt.Sprintf("%q", text)
	}
	return fmt.Sprintf("%q… (%d characters)", string([]rune(text)[:longest]), utf8.RuneCountInString(text))
}
