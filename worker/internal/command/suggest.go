package command

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// meant asks whether a name near the wrong one was meant, with a mark such as "--" before it; it is empty if none is near.
func meant(wrong string, names []string, mark string) string {
	const near = 2 // changes of a character
	best, distance := "", near+1
	for _, name := range names {
		if d := editDistance(wrong, name); d < distance {
			best, distance = name, d
		}
		if len(wrong) > near && strings.HasPrefix(name, wrong) && distance > 1 {
			best, distance = name, 1
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + mark + best + "?)"
}

// editDistance counts the characters to insert, remove or replace (Levenshtein 1966), by rows of Wagner and Fischer's table.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		names = append(names, c.Name())
	}
	return names
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) { names = append(names, flag.Name) })
	return names
}
