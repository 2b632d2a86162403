// Package cuda holds the specs of a device's context, memory and residency. They run on a CUDA device or, where there is none,
// on the simulator; the report says which.
package cuda

import (
	"errors"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/target"
)

const specTimeout = 3 * time.Minute

// alignment is what every block's address must be a multiple of.
const alignment = 256

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	registerContext(subject)
	registerMemory(subject)
	registerOwnership(subject)
	registerResidency(subject)
	registerEstablished(subject)
}

// onEachDevice runs a body on every CUDA device, or on the simulator.
func onEachDevice(subject *target.Target, body func(device library.Backend)) {
	GinkgoHelper()
	subject.Require(target.Native, target.CUDADevice)
	devices := subject.CUDADevices()
	names := []string{}
	for _, device := range devices {
		By("on " + device.Name)
		names = append(names, device.Name+": "+device.Device.Name)
		body(device)
	}
	evidence.Observe("devices", names, "")
}

// open opens a device for the duration of the spec.
func open(device library.Backend, options native.ContextOptions) native.Context {
	GinkgoHelper()
	context, err := device.Open(options)
	Expect(err).NotTo(HaveOccurred(), device.Name)
	DeferCleanup(context.Close)
	return context
}

// expectEmpty expects a ledger without a block.
func expectEmpty(context native.Context, when string, arguments ...any) {
	GinkgoHelper()
	memory, err := context.Memory()
	Expect(err).NotTo(HaveOccurred())
	blocks, err := context.Blocks()
	Expect(err).NotTo(HaveOccurred())
	Expect(memory.Total()).To(BeZero(), append([]any{"bytes left " + when}, arguments...)...)
	Expect(memory.Blocks).To(BeZero(), append([]any{"blocks left " + when}, arguments...)...)
	Expect(blocks).To(BeEmpty(), append([]any{"blocks listed " + when}, arguments...)...)
}

// loadAndStep loads the tiny model and evaluates a few tokens, so that every kind of block exists.
func loadAndStep(context native.Context) *tiny.Model {
	GinkgoHelper()
	model := tiny.LoadInto(context, tiny.Description(tiny.Options{KVBlocks: 4}))
	tiny.Evaluate(model, tiny.Session(model), []int32{1, 2, 3})
	return model
}

func memoryError(err error) *native.Error {
	GinkgoHelper()
	var failure *native.Error
	Expect(errors.As(err, &failure)).To(BeTrue(), "%v", err)
	return failure
}
