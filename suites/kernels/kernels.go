// Package kernels holds the specs of the single operations, on every backend that the library offers. Each result is compared,
// element by element, with a float64 reference that shares no code with the library, within a bound derived from the
// operation's own rounding.
package kernels

import (
	"fmt"
	"os"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

const (
	specTimeout = 60 * time.Second
	// drawsTimeout bounds many thousand draws on every backend, which AddressSanitizer slows down tenfold on the simulator.
	drawsTimeout = 10 * time.Minute
)

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	registerEmbedding(subject)
	registerLinear(subject)
	registerFast(subject)
	registerForward(subject)
	registerTemperature(subject)
	registerSampling(subject)
	registerRandom(subject)
	registerSteps(subject)
	registerSizes(subject)
}

// A check is one case of an operation: the call, and what must come out.
type check struct {
	name   string // reruns the case: GATE_CASE=name
	op     native.Op
	want   []float64
	bound  []float64
	format string
	at     func(i int) string
}

// caseFromEnvironment is the case that GATE_CASE names; empty if all are wanted.
func caseFromEnvironment() string { return os.Getenv("GATE_CASE") }

// wanted tells whether a case is asked for: all are, unless GATE_CASE names one.
func wanted(name string) bool {
	only := caseFromEnvironment()
	return only == "" || only == name
}

// skipOtherCases skips a spec that GATE_CASE does not concern.
func skipOtherCases(operations ...string) {
	GinkgoHelper()
	only := caseFromEnvironment()
	if only == "" {
		return
	}
	for _, operation := range operations {
		if strings.HasPrefix(only, operation+":") {
			return
		}
	}
	Skip("GATE_CASE names a case of another spec")
}

// onEachBackend runs a body on a context of every backend; one that is Slow wants few cases.
func onEachBackend(subject func() *target.Target, body func(context native.Context, backend library.Backend)) {
	GinkgoHelper()
	subject().Require(target.Native)
	backends, err := subject().Backends()
	Expect(err).NotTo(HaveOccurred())
	Expect(backends).NotTo(BeEmpty(), "the library offers no device")
	for _, backend := range backends {
		By("on " + backend.Name)
		body(openContext(backend), backend)
	}
}

// openContext opens a backend for the duration of the spec.
func openContext(backend library.Backend) native.Context {
	GinkgoHelper()
	context, err := backend.Open(native.ContextOptions{})
	Expect(err).NotTo(HaveOccurred(), "open %s", backend.Name)
	DeferCleanup(context.Close)
	return context
}

// tally gathers the worst error of each format on a backend, for the report.
type tally struct {
	operation string
	backend   string
	order     []string
	cases     map[string]int
	worst     map[string]float64
	where     map[string]string
}

func newTally(operation, backend string) *tally {
	return &tally{operation: operation, backend: backend, cases: map[string]int{}, worst: map[string]float64{}, where: map[string]string{}}
}

func (t *tally) add(format string, b matchers.Bounded) {
	if t.cases[format] == 0 {
		t.order = append(t.order, format)
		t.where[format] = b.Case
	}
	t.cases[format] += len(b.Want)
	if fraction, at := b.Worst(); fraction > t.worst[format] {
		t.worst[format], t.where[format] = fraction, b.Case+" "+b.Where(at)
	}
}

func (t *tally) record() {
	for _, format := range t.order {
		evidence.KernelError(t.operation, format, t.backend, t.cases[format], t.worst[format], t.where[format])
	}
}

// run executes a case, checks the guard values around its output, and expects every element within its bound.
func (c check) run(context native.Context, t *tally) []float32 {
	GinkgoHelper()
	output := newGuarded(len(c.want))
	c.op.Outputs[0].Data = output.data
	Expect(context.RunOp(c.op)).To(Succeed(), "case %s on %s", c.name, t.backend)
	Expect(output.damage()).To(BeEmpty(), "case %s on %s wrote outside its output", c.name, t.backend)
	result := matchers.Bounded{Case: c.name, Got: output.floats(), Want: c.want, Bound: c.bound, At: c.at}
	t.add(c.format, result)
	Expect(result).To(matchers.BeWithinBound(), "on %s", t.backend)
	return result.Got
}

// unsupported tells whether the library does not offer a format on a backend, by its own word.
func unsupported(context native.Context, format format) bool {
	table := format.random(newRandom(1), format.block(), 1)
	op := embeddingOp(format, table, format.block(), 1, []int32{0})
	op.Outputs[0].Data = make([]byte, 4*format.block())
	return native.StatusOf(context.RunOp(op)) == native.StatusUnsupported
}

// offered are the formats that a backend offers; the others are recorded.
func offered(context native.Context, backend library.Backend) []format {
	GinkgoHelper()
	var out []format
	var not []string
	for _, f := range formats {
		if unsupported(context, f) {
			not = append(not, f.name)
			continue
		}
		out = append(out, f)
	}
	if len(not) > 0 {
		evidence.Observe("formats not offered by "+backend.Name, not, "")
	}
	Expect(out).NotTo(BeEmpty(), "%s offers no weight format", backend.Name)
	return out
}

// caseName names a case by operation and parameters, in one string without spaces.
func caseName(operation, format string, parameters ...any) string {
	var list []string
	for i := 0; i+1 < len(parameters); i += 2 {
		list = append(list, fmt.Sprintf("%v=%v", parameters[i], parameters[i+1]))
	}
	return operation + ":" + format + ":" + strings.Join(list, ",")
}
