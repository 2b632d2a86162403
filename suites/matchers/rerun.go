// Package matchers holds Gomega matchers whose failures teach: what was expected, what came, where they first part, and the
// command that runs that one case again.
package matchers

// Rerun is the line of a message that names the one case to run again. Gates make a command of it, with their own name and
// the settings of the run; an empty name says that the whole spec is to run.
func Rerun(caseName string) string {
	if caseName == "" {
		return ""
	}
	return "case: " + caseName
}
