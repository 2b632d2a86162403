// Package harmless makes what a subject wrote safe to show: its names, versions, texts, log lines and messages come from a
// program that is not trusted, and go to terminals, CI logs, Markdown, HTML and XML. Text and Line take away what a terminal
// or a CI service would act on; escaping for the format itself is up to whoever writes that format.
package harmless

import (
	"reflect"
	"regexp"
	"strings"
	"unicode"
)

// serviceCommand matches the commands that Azure Pipelines, TeamCity and older GitHub runners find anywhere in a line.
var serviceCommand = regexp.MustCompile(`##(\w*)\[`)

// Text returns text without control characters other than line feeds and tabs, without characters that reorder or hide
// what stands beside them, and without a line that a CI service takes for a command. Bytes that are no UTF-8 and characters
// that were taken away are shown as U+FFFD.
func Text(text string) string {
	text = strings.Map(visible, strings.ReplaceAll(text, "\r\n", "\n"))
	text = serviceCommand.ReplaceAllString(text, "# #$1[")
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = withoutCommand(line)
	}
	return strings.Join(lines, "\n")
}

// Line returns text as Text does, on one line and without space around it.
func Line(text string) string {
	return Text(strings.Join(strings.Fields(Text(text)), " "))
}

// visible replaces what acts instead of being shown. The two joiners stay: scripts and emoji are written with them.
func visible(r rune) rune {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	switch {
	case r == '\n', r == '\t', r == zeroWidthNonJoiner, r == zeroWidthJoiner:
		return r
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp):
		return unicode.ReplacementChar
	}
	return r
}

// withoutCommand parts the colons with which a GitHub workflow command begins, whatever white space stands before them.
func withoutCommand(line string) string {
	rest := strings.TrimLeftFunc(line, unicode.IsSpace)
	if !strings.HasPrefix(rest, "::") {
		return line
	}
	return line[:len(line)-len(rest)] + ": :" + rest[len("::"):]
}

// Each replaces every string that value points to by what change makes of it: in structs, slices, maps and their keys, and
// interfaces, so that no field is forgotten. Fields that are not exported are left alone.
func Each(value any, change func(string) string) {
	each(reflect.ValueOf(value).Elem(), change)
}

func each(value reflect.Value, change func(string) string) {
	switch value.Kind() {
	case reflect.String:
		if value.CanSet() {
			value.SetString(change(value.String()))
		}
	case reflect.Pointer:
		if !value.IsNil() {
			each(value.Elem(), change)
		}
	case reflect.Interface:
		if !value.IsNil() && value.CanSet() {
			value.Set(changed(value.Elem(), change))
		}
	case reflect.Struct:
		for i := range value.NumField() {
			if value.Type().Field(i).IsExported() {
				each(value.Field(i), change)
			}
		}
	case reflect.Slice, reflect.Array:
		if value.Type().Elem().Kind() == reflect.Uint8 {
			return // bytes are no text
		}
		for i := range value.Len() {
			each(value.Index(i), change)
		}
	case reflect.Map:
		if value.IsNil() || !value.CanSet() {
			return
		}
		copied := reflect.MakeMapWithSize(value.Type(), value.Len())
		for _, key := range value.MapKeys() {
			copied.SetMapIndex(changed(key, change), changed(value.MapIndex(key), change))
		}
		value.Set(copied)
	}
}

// changed is a changed copy of a value that cannot be set in place.
func changed(value reflect.Value, change func(string) string) reflect.Value {
	copied := reflect.New(value.Type()).Elem()
	copied.Set(value)
	each(copied, change)
	return copied
}
