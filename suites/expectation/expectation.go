// Package expectation says what a worker must answer to a request that nobody could foresee.
//
// A request is drawn from a run's seed: prompt, every sampling field, lengths, stop strings cut out of the answer to come. What must
// come back is computed here, with the reference library on the same model file and the harness's own tokenizer, and every
// choice of a token is worked out a second time in float64. An answer of a worker that claims canonical numerics must be equal, field
// by field (Case.Compare). Any other worker on the same weights is judged by what it chose (Reference.Force): the reference
// evaluates the worker's own tokens, and each must lie within a stated bound; sampled tokens are tested together, by Draws.Test.
//
// The package knows no worker and no protocol: a suite sends Request and fills in Answer.
package expectation

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
)

// SeedVariable names the environment variable that fixes the seed of a run, so that the run can be had again.
const SeedVariable = "GATE_SEED"

// RunSeed is the seed that this process draws its requests from: the one that GATE_SEED gives, or one that nobody knew before.
var RunSeed = sync.OnceValues(func() (uint64, error) {
	if text := os.Getenv(SeedVariable); text != "" {
		seed, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is %q; give a whole number from 0 to 2^64 - 1", SeedVariable, text)
		}
		return seed, nil
	}
	var random [8]byte
	_, err := rand.Read(random[:])
	return binary.LittleEndian.Uint64(random[:]), err
})

// Name makes the name of one drawn case of a kind, as GATE_CASE takes it: "expectation:seed=7,index=12".
func Name(kind string, seed uint64, index int) string {
	return fmt.Sprintf("%s:seed=%d,index=%d", kind, seed, index)
}

// ParseName reads a name of that kind back.
func ParseName(kind, name string) (seed uint64, index int, ok bool) {
	rest, ok := strings.CutPrefix(name, kind+":seed=")
	if !ok {
		return 0, 0, false
	}
	first, second, ok := strings.Cut(rest, ",index=")
	if !ok {
		return 0, 0, false
	}
	seed, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	index, err = strconv.Atoi(second)
	return seed, index, err == nil && index >= 0
}

// A Divergence says what of an answer is not as it must be. It is an error whose text teaches: field, place, expected, got,
// the request, and how to run that one case again.
type Divergence struct {
	Case     string // as GATE_CASE takes it
	Field    string // "tokens", "logprobs", ...
	At       int    // first element that differs; -1 if the field is one value
	Expected any
	Got      any
	Note     string // what makes it wrong, where that is not plain
	Request  Request
}

// Error is the text, values printed as JSON.
func (d *Divergence) Error() string {
	var text strings.Builder
	fmt.Fprintf(&text, "the answer is not the expected one: %s", d.Field)
	if d.At >= 0 {
		fmt.Fprintf(&text, ", first divergence at %d", d.At)
	}
	if d.Note != "" {
		fmt.Fprintf(&text, " (%s)", d.Note)
	}
	fmt.Fprintf(&text, "\nexpected: %s\ngot: %s\nrequest: %s\ncase: %s", asJSON(d.Expected), asJSON(d.Got),
		asJSON(d.Request), d.Case)
	return text.String()
}

// asJSON prints a value for a message; long ones are cut.
func asJSON(value any) string {
	const most = 600
	text, err := json.Marshal(value)
	if err != nil {
		text = fmt.Appendf(nil, "%+v", value)
	}
	if len(text) > most {
		return fmt.Sprintf("%s… (%d bytes)", text[:most], len(text))
	}
	return string(text)
}
