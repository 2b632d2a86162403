package cuda

import (
	"os"
	"regexp"
	"strconv"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
)

// What a device is and where its blocks lie is established here by what the system and the driver say, not by the library's word.

func registerEstablished(subject func() *target.Target) {
	Describe("kind of device", requirement.Claim("cuda.context"), func() {
		It("is what the system knows, and a simulator says that it is one", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native, target.CUDADevice)
			library, err := subject().Library()
			Expect(err).NotTo(HaveOccurred())
			devices, err := library.Devices()
			Expect(err).NotTo(HaveOccurred())
			driver := driverLoaded()
			for index, device := range devices {
				switch device.Kind {
				case native.DeviceCUDA:
					Expect(driver).NotTo(BeEmpty(), "device %d, %q, is of kind cuda, but this system has loaded no NVIDIA driver", index, device.Name)
				case native.DeviceSim:
					Expect(device.Name).To(MatchRegexp("(?i)simulat"), "the name of a simulated device")
					Expect(vendors.MatchString(device.Name)).To(BeFalse(), "a simulated device calls itself %q", device.Name)
				}
				evidence.Observe("device "+strconv.Itoa(index), map[string]any{"kind": device.Kind.String(), "name": device.Name}, "")
			}
			evidence.Observe("the system's NVIDIA driver", driver, "")
		})
	})
	Describe("ledger of a device", requirement.Claim("cuda.vram-only"), func() {
		It("keeps the peak of what it held", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device library.Backend) {
				context := open(device, native.ContextOptions{})
				loadAndStep(context)
				memory, err := context.Memory()
				Expect(err).NotTo(HaveOccurred())
				Expect(memory.Peak).To(BeNumerically(">=", memory.Total()), "the peak, below what is held now")
				evidence.Observe("peak on "+device.Name, memory.Peak, "bytes")
			})
		})
	})
	Describe("residency check, asked from below", requirement.Claim("cuda.residency"), func() {
		It("notices a block that the driver says has left the device, and names it", SpecTimeout(specTimeout), func(SpecContext) {
			expectEvictionNoticed(subject())
		})
	})
}

// vendors are names that no simulator may bear.
var vendors = regexp.MustCompile(`(?i)nvidia|geforce|tesla|quadro|rtx|\b[ahb][0-9]{2,3}\b|radeon|instinct`)

// driverLoaded is where the system shows that an NVIDIA driver is loaded; empty if it is not.
func driverLoaded() string {
	for _, path := range []string{"/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// evictedVariable is the environment variable by which the simulator's driver is told that a block has left the device: below
// the library's check, which has to ask to know.
const evictedVariable = "SIM_EVICTED"

func expectEvictionNoticed(subject *target.Target) {
	GinkgoHelper()
	subject.Require(target.Native, target.CUDADevice)
	backends, err := subject.Backends()
	Expect(err).NotTo(HaveOccurred())
	asked := 0
	for _, device := range backends {
		if device.Device.Kind != native.DeviceSim {
			continue
		}
		context := open(device, native.ContextOptions{})
		loadAndStep(context)
		blocks, err := context.Blocks()
		Expect(err).NotTo(HaveOccurred())
		for _, block := range blocks {
			GinkgoT().Setenv(evictedVariable, strconv.FormatUint(block.Address, 10))
			report, err := context.CheckResidency()
			Expect(err).To(matchers.HaveStatus(native.StatusResidencyFailed), "the driver says that block %d, %q, has left", block.ID, block.Label)
			Expect(report.Outside).To(Equal(1))
			Expect(report.FirstID).To(Equal(block.ID))
			Expect(report.FirstLabel).To(Equal(block.Label))
			asked++
		}
		GinkgoT().Setenv(evictedVariable, "")
		_, err = context.CheckResidency()
		Expect(err).NotTo(HaveOccurred(), "when all are back")
	}
	if asked == 0 {
		evidence.NotRun("a block that has left, noticed from below", "needs the simulator: a card's driver cannot be made to say so")
		return
	}
	evidence.Observe("evictions noticed and named", asked, "")
}
