package cuda

import (
	"fmt"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// CUDA-01 Context initialisation.
func registerContext(subject func() *target.Target) {
	Describe("device context", requirement.ID("CUDA-01"), func() {
		It("has plausible properties, on hardware those that the driver tells", SpecTimeout(specTimeout), func(ctx SpecContext) {
			onEachDevice(subject(), func(device target.Backend) {
				listed := device.Device
				opened, err := open(device, native.ContextOptions{}).Device()
				Expect(err).NotTo(HaveOccurred())
				for _, p := range []native.DeviceProperties{listed, opened} {
					Expect(p.Name).NotTo(BeEmpty())
					Expect(p.Multiprocessors).To(BeNumerically(">", 0), "multiprocessors")
					Expect(p.ComputeMajor).To(BeNumerically(">=", 5), "compute capability")
					Expect(p.MemoryTotal).To(BeNumerically(">", 0), "total memory")
					Expect(p.MemoryFree).To(BeNumerically("<=", p.MemoryTotal), "free memory")
				}
				Expect(opened.Name).To(Equal(listed.Name))
				Expect(opened.Kind).To(Equal(listed.Kind))
				Expect(opened.Ordinal).To(Equal(listed.Ordinal))
				evidence.Observe("properties of "+device.Name, opened, "")
				if listed.Kind == native.DeviceSim {
					evidence.NotRun("driver asked about "+device.Name, "needs a CUDA device")
					return
				}
				said := askDriver(ctx, listed.UUID)
				Expect(listed.Name).To(Equal(said.name))
				Expect(listed.MemoryTotal).To(BeNumerically("~", said.memoryTotal, said.memoryTotal/20), "total memory, less what the driver keeps")
				Expect(fmt.Sprintf("%d.%d", listed.ComputeMajor, listed.ComputeMinor)).To(Equal(said.computeCapability))
				evidence.Observe("driver asked about "+device.Name, said.uuid+" "+said.name, "")
			})
		})

		It("refuses a device that is not there", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native, target.CUDADevice)
			library, err := subject().Library()
			Expect(err).NotTo(HaveOccurred())
			devices, err := library.Devices()
			Expect(err).NotTo(HaveOccurred())
			ordinals := []int{-1, len(devices), len(devices) + 1, 1 << 20}
			for _, ordinal := range ordinals {
				context, err := library.NewContext(ordinal, native.ContextOptions{})
				if err == nil {
					Expect(context.Close()).To(Succeed())
				}
				Expect(err).To(matchers.HaveStatus(native.StatusInvalidDevice), "device %d of %d", ordinal, len(devices))
			}
			evidence.Observe("devices refused", ordinals, "")
		})

		It("lets two contexts live side by side, and comes back after its end", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device target.Backend) {
				first, second := open(device, native.ContextOptions{}), open(device, native.ContextOptions{})
				tokens := tiny.Tokens(12, 1)
				one := tiny.Fresh(loadAndStep(first), tokens)
				Expect(tiny.Fresh(loadAndStep(second), tokens)).To(matchers.HaveSameBits(one), "the second context")
				const rounds = 3
				for range rounds {
					again, err := device.Open(native.ContextOptions{})
					Expect(err).NotTo(HaveOccurred())
					Expect(again.Close()).To(Succeed())
				}
				third := open(device, native.ContextOptions{})
				Expect(tiny.Fresh(loadAndStep(third), tokens)).To(matchers.HaveSameBits(one), "after contexts came and went")
				evidence.LogitsHash("every context of "+device.Name, tiny.Hash(one))
			})
		})
	})
}
