package cuda

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// CUDA-02 VRAM-only enforcement.
func registerMemory(subject func() *target.Target) {
	Describe("VRAM-only", requirement.ID("CUDA-02"), func() {
		It("keeps every live block in device memory, by the driver's word", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device target.Backend) {
				context := open(device, native.ContextOptions{})
				opened, err := context.Device()
				Expect(err).NotTo(HaveOccurred())
				Expect(opened.Kind).To(Equal(device.Device.Kind), "another kind of device was opened")
				loadAndStep(context)
				blocks, err := context.Blocks()
				Expect(err).NotTo(HaveOccurred())
				Expect(blocks).NotTo(BeEmpty())
				for _, block := range blocks {
					Expect(block.Space).To(Equal(native.SpaceDevice), "the space of block %d, %q, %d bytes", block.ID, block.Label, block.Bytes)
				}
				evidence.Observe("blocks in device memory on "+device.Name, len(blocks), "")
			})
		})

		It("has a ledger that adds up, and holds the weights", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device target.Backend) {
				context := open(device, native.ContextOptions{})
				model := loadAndStep(context)
				blocks, err := context.Blocks()
				Expect(err).NotTo(HaveOccurred())
				memory, err := context.Memory()
				Expect(err).NotTo(HaveOccurred())
				sums := map[native.MemoryKind]uint64{}
				for _, block := range blocks {
					sums[block.Kind] += block.Bytes
				}
				Expect(memory.Blocks).To(Equal(len(blocks)))
				Expect(memory.Weights).To(Equal(sums[native.MemoryWeights]), "weights")
				Expect(memory.KV).To(Equal(sums[native.MemoryKV]), "KV cache")
				Expect(memory.Activations).To(Equal(sums[native.MemoryActivations]), "activations")
				Expect(memory.Other).To(Equal(sums[native.MemoryOther]), "other")
				var stored uint64
				for _, tensor := range tiny.Description(tiny.Options{}).Tensors {
					stored += uint64(len(tensor.Data))
				}
				info, err := model.Info()
				Expect(err).NotTo(HaveOccurred())
				Expect(memory.Weights).To(BeNumerically(">=", stored), "the weights of the file fit in what the ledger shows")
				Expect(memory.Weights).To(BeNumerically(">=", info.WeightsBytes))
				evidence.Observe("ledger of "+device.Name, memory, "bytes")
			})
		})

		It("fails fast on too little memory, with the bytes required and available", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device target.Backend) {
				const limit = 96 << 10
				context := open(device, native.ContextOptions{MemoryLimit: limit})
				_, err := tiny.TryLoad(context, tiny.Description(tiny.Options{}))
				Expect(err).To(matchers.HaveStatus(native.StatusOutOfMemory))
				failure := memoryError(err)
				Expect(failure.Required).To(BeNumerically(">", failure.Available))
				Expect(failure.Available).To(BeNumerically("<=", limit))
				expectEmpty(context, "after a load that did not fit")
				evidence.Observe("required and available on "+device.Name, []uint64{failure.Required, failure.Available}, "bytes")
			})
		})

		It("keeps what is on the device out of host memory, by the system's and the driver's word", SpecTimeout(specTimeout), func(ctx SpecContext) {
			onEachDevice(subject(), func(device target.Backend) {
				if device.Device.Kind == native.DeviceSim {
					evidence.NotRun("host memory watched on "+device.Name, "needs a CUDA device")
					return
				}
				const megabytes = 512
				context := open(device, native.ContextOptions{})
				loadAndStep(context) // the runtime's own host memory comes with the first kernel
				before := hostBytes()
				usedBefore, whose := deviceMemory(ctx, device.Device.UUID)
				other := open(device, native.ContextOptions{})
				tiny.LoadInto(other, tiny.Description(tiny.Options{KVBlocks: megabytes << 20 / tiny.KVBlockBytes}))
				grown := int64(hostBytes()) - int64(before)
				usedAfter, whoseAfter := deviceMemory(ctx, device.Device.UUID)
				used := int64(usedAfter) - int64(usedBefore)
				memory, err := other.Memory()
				Expect(err).NotTo(HaveOccurred())
				evidence.Observe("growth of host memory on "+device.Name, grown, "bytes")
				evidence.Observe("growth of the memory of "+whose+" by NVML", used, "bytes")
				Expect(whoseAfter).To(Equal(whose), "whose memory the driver tells of")
				Expect(grown).To(BeNumerically("<", megabytes<<20/8), "host memory")
				Expect(used).To(BeNumerically(">=", int64(memory.Total()*9/10)), "NVML's figure against the ledger")
			})
		})

		It("never answers from the processor in place of a device", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native, target.CUDADevice, target.Restart)
			if !subject().CommandTakes("{device}") {
				Skip("needs a command line with {device}")
			}
			port, err := target.FreePort()
			Expect(err).NotTo(HaveOccurred())
			code, output, err := target.Run(ctx, subject().Launch(target.Launch{Device: "cuda:63"}), port)
			Expect(err).NotTo(HaveOccurred())
			evidence.Observe("exit code and output", map[string]any{"exit code": code, "output": output}, "")
			Expect(code).To(BeNumerically(">", 0), "a worker told to use cuda:63 must not serve")
		})
	})
}

// hostBytes is the anonymous resident memory of this process, from /proc; file mappings do not count.
func hostBytes() uint64 {
	GinkgoHelper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/status")
	Expect(err).NotTo(HaveOccurred())
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, "RssAnon:"); found {
			kilobytes, err := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			Expect(err).NotTo(HaveOccurred())
			return kilobytes << 10
		}
	}
	Fail("/proc/self/status has no RssAnon")
	return 0
}
