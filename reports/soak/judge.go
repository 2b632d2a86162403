package soak

import "fmt"

// Answer is the outcome of one request of a run.
type Answer struct {
	Role    string
	Request int
	Outcome Outcome
}

// SubjectRole is the role of the request that was drawn.
const SubjectRole = "subject"

// Judge compares an answer with the reference of its request.
func (c *Contents) Judge(answer Answer) (Output, error) {
	reference, known := c.Reference(answer.Request)
	if !known {
		return Output{}, fmt.Errorf("the ledger has no reference of request %d", answer.Request)
	}
	output := Output{Role: answer.Role, Request: answer.Request, SHA256: answer.Outcome.SHA256(), TextSHA256: answer.Outcome.TextSHA256()}
	if output.Difference = Compare(reference, answer.Outcome); output.Difference != nil {
		output.Outcome = &answer.Outcome
	}
	return output, nil
}
