// Package secret keeps keys and passwords out of reports and logs: the values that a run was given, wherever they turn up, and
// whatever a flag, a variable, a header or a URL names as secret.
package secret

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// Hidden stands where a secret stood.
const Hidden = "[hidden]"

// word is a part of a name that says that its value is secret.
const word = `(?:key|apikey|token|secret|password|passwd|credential|credentials|auth|authorization|cookie)`

var (
	// assignment matches --api-key=VALUE, --api-key VALUE and API_KEY=VALUE, in one text or as the two arguments of a command
	// joined by a space. A name that goes on, as in --api-key-file, --tokenizer and --max-tokens, names something else.
	assignment = regexp.MustCompile(`(?i)((?:--?(?:[a-z0-9]+[-_])*` + word + `(?:=|\s+))|(?:\b(?:[a-z0-9]+_)*` + word + `=))("[^"]*"|'[^']*'|[^\s"',]+)`)
	// header matches a header in a text or in JSON, up to the end of its value.
	header = regexp.MustCompile(`(?i)(\b(?:proxy-)?authorization"?\s*[:=]\s*\[?\s*"?(?:(?:bearer|basic|digest)\s+)?)([^\s"',\]]+)`)
	// userInfo matches the name and password of a URL.
	userInfo = regexp.MustCompile(`(\b[a-z][a-z0-9+.-]*://)[^/\s@"']+@`)
	// headerName matches the names of headers whose values are secret.
	headerName = regexp.MustCompile(`(?i)(?:^|[-_])` + word + `$`)
)

// Text hides what flags, variables, headers and URLs name as secret in a command or a message.
func Text(text string) string {
	text = assignment.ReplaceAllString(text, "${1}"+Hidden)
	text = header.ReplaceAllString(text, "${1}"+Hidden)
	return userInfo.ReplaceAllString(text, "${1}"+Hidden+"@")
}

// minNamed is the length from which a value that a command names as secret is looked for elsewhere: shorter ones stand in
// every text.
const minNamed = 6

// Named are the values that Text would hide in a command, to be hidden wherever else they turn up.
func Named(command string) []string {
	var values []string
	for _, match := range assignment.FindAllStringSubmatch(command, -1) {
		values = append(values, strings.Trim(match[2], `"'`))
	}
	for _, match := range header.FindAllStringSubmatch(command, -1) {
		values = append(values, match[2])
	}
	for _, match := range userInfo.FindAllString(command, -1) {
		_, user, _ := strings.Cut(strings.TrimSuffix(match, "@"), "://")
		_, password, _ := strings.Cut(user, ":")
		values = append(values, password)
	}
	return slices.DeleteFunc(values, func(value string) bool { return len(value) < minNamed || value == Hidden })
}

// Values hides each of the given values wherever it stands in a text, also as JSON writes it, and JSON within JSON. An
// empty value hides nothing.
func Values(text string, values []string) string {
	for _, form := range forms(values) {
		text = strings.ReplaceAll(text, form, Hidden)
	}
	return text
}

// forms are all that values may look like, the longest first, since one may hold another.
func forms(values []string) []string {
	var all []string
	add := func(form string) {
		if form != "" && !slices.Contains(all, form) {
			all = append(all, form)
		}
	}
	for _, value := range values {
		add(value)
		for _, once := range inJSON(value) {
			add(once)
			for _, twice := range inJSON(once) {
				add(twice)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}

// inJSON is a text as it stands between the quotes of a JSON string, with and without <, > and & escaped.
func inJSON(text string) []string {
	var out []string
	for _, escape := range []bool{false, true} {
		var buffer strings.Builder
		encoder := json.NewEncoder(&buffer)
		encoder.SetEscapeHTML(escape)
		_ = encoder.Encode(text) // a string can be encoded
		encoded := strings.TrimSuffix(buffer.String(), "\n")
		out = append(out, encoded[1:len(encoded)-1])
	}
	return out
}

// Header returns a copy of an HTTP header in which the values of secret ones are hidden.
func Header(header map[string][]string) map[string][]string {
	copied := make(map[string][]string, len(header))
	for name, values := range header {
		copied[name] = slices.Clone(values)
		if headerName.MatchString(name) {
			for i := range copied[name] {
				copied[name][i] = Hidden
			}
		}
	}
	return copied
}
