// The worker serves one language model over HTTP: `worker serve`, `worker run`, `worker devices`, `worker inspect`.
package main

import (
	"os"

	"touchstone/worker/internal/command"
)

func main() { os.Exit(command.Main(os.Args[1:], os.Stdout, os.Stderr)) }
