package command

import (
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/pflag"
)

// logFlags choose how the worker logs.
type logFlags struct {
	format string
	level  string
}

func (f *logFlags) define(flags *pflag.FlagSet) {
	checked(flags, &f.format, "log-format", "text|json", "text", "how log lines look", oneOf("text", "json"))
	checked(flags, &f.level, "log-level", "LEVEL", "info", "least level that is logged: debug, info, warn or error",
		oneOf("debug", "info", "warn", "error"))
}

func (f *logFlags) logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(strings.ToUpper(f.level))); err != nil {
		panic(err) // the flag lets only known levels through
	}
	options := &slog.HandlerOptions{Level: level}
	if f.format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
