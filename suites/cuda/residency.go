package cuda

import (
	"net/http"
	"os"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/api"
	"touchstone/suites/internal/planted"
	"touchstone/suites/library"
	"touchstone/suites/matchers"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

const (
	// residencyInterval is the period that the spec's worker is told to check in, noticeSlack what a busy machine may add.
	residencyInterval = time.Second
	noticeSlack       = 500 * time.Millisecond
	// logDelay is how long a log line may take from the worker's pen to the harness.
	logDelay = 5 * time.Second
)

// Residency verification.
func registerResidency(subject func() *target.Target) {
	Describe("residency check", requirement.Claim("cuda.residency"), func() {
		It("asks about every block and finds it resident", SpecTimeout(specTimeout), func(SpecContext) {
			onEachDevice(subject(), func(device library.Backend) {
				context := open(device, native.ContextOptions{})
				loadAndStep(context)
				report, err := context.CheckResidency()
				Expect(err).NotTo(HaveOccurred())
				blocks, err := context.Blocks()
				Expect(err).NotTo(HaveOccurred())
				Expect(report.Checked).To(Equal(len(blocks)))
				Expect(report.Outside).To(BeZero())
				evidence.Observe("report on "+device.Name, report, "")
			})
		})

		It("names a planted block that is not resident", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native, target.CUDADevice, target.Compiler)
			library, err := native.OpenLibrary(planted.Library(ctx, subject(), planted.Always))
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(library.Close)
			devices, err := library.Devices()
			Expect(err).NotTo(HaveOccurred())
			checked := 0
			for index, device := range devices {
				if device.Kind == native.DeviceCPU {
					continue
				}
				context, err := library.NewContext(index, native.ContextOptions{})
				Expect(err).NotTo(HaveOccurred())
				DeferCleanup(context.Close)
				report, err := context.CheckResidency()
				Expect(err).To(matchers.HaveStatus(native.StatusResidencyFailed, planted.BlockLabel))
				Expect(report.Outside).To(Equal(1))
				Expect(report.FirstLabel).To(Equal(planted.BlockLabel))
				evidence.Observe("report on "+device.Kind.String(), report, "")
				checked++
			}
			Expect(checked).To(BeNumerically(">", 0), "the library offers no such device as a shared object")
		})

		It("turns health unhealthy within one period", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native, target.CUDADevice, target.Restart, target.Compiler)
			file := filepath.Join(GinkgoT().TempDir(), "plant")
			launch := subject().With(map[string]string{
				"native-lib": planted.Library(ctx, subject(), planted.Once(file)), "residency-interval": residencyInterval.String(),
			})
			launch.Device = subject().CUDADevices()[0].Name
			worker, err := subject().Start(ctx, launch)
			Expect(err).NotTo(HaveOccurred())
			DeferCleanup(worker.Kill)
			client := subject().ClientOf(worker)
			DeferCleanup(client.Close)
			Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
			since := time.Now()
			Eventually(ctx, func(g Gomega) {
				response, err := client.Do(ctx, wire.Get("/health"))
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(response.Status).To(Equal(http.StatusServiceUnavailable))
				var health api.Health
				g.Expect(response.JSON(&health)).To(Succeed())
				g.Expect(health.Status).To(Equal("unhealthy"))
				g.Expect(health.Resident).To(HaveValue(BeFalse()))
			}).WithTimeout(residencyInterval + noticeSlack).WithPolling(residencyInterval / 20).Should(Succeed())
			evidence.Observe("unhealthy after", time.Since(since).Milliseconds(), "ms")
			Eventually(ctx, worker.Log).WithTimeout(logDelay).Should(ContainSubstring(planted.BlockLabel), "the log names the block")
		})
	})
}
