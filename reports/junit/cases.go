package junit

import "touchstone/reports/verdict"

// Case is a check that is no spec of a gate.
type Case struct {
	Name   string
	Output string
	// State is verdict.Passed, Failed or NotRun, and Reason says why it is not the first.
	State  verdict.State
	Reason string
}

// EncodeCases returns cases as JUnit XML: one testsuite of that name, whose cases are of the class.
func EncodeCases(name, class string, duration float64, cases []Case) ([]byte, error) {
	suite := testsuite{Name: clean(name), Time: seconds(duration)}
	for _, given := range cases {
		c := testcase{Name: clean(given.Name), Classname: clean(class), Time: seconds(0), SystemOut: clean(given.Output)}
		c.set(given.State, given.Reason, "")
		suite.Cases = append(suite.Cases, c)
	}
	all := testsuites{Name: suite.Name, Time: suite.Time}
	all.add(suite)
	return encode(all)
}
