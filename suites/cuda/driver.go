package cuda

import (
	"encoding/csv"
	"os"
	"os/exec"
	"strconv"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
)

// driverWord is what NVML says about a device, asked through nvidia-smi: it shares nothing with the library under test.
type driverWord struct {
	uuid                    string
	name                    string
	memoryTotal, memoryUsed uint64 // bytes of the whole device, taken by whomever
	computeCapability       string // "9.0"
}

// askDriver finds a device by its UUID. It skips the spec where the machine has no nvidia-smi.
func askDriver(ctx SpecContext, uuid string) driverWord {
	GinkgoHelper()
	path, err := exec.LookPath("nvidia-smi")
	if err != nil {
		Skip("needs nvidia-smi to ask the driver")
	}
	output, err := exec.CommandContext(ctx, path, "--query-gpu=uuid,name,memory.total,memory.used,compute_cap", "--format=csv,noheader,nounits").Output()
	Expect(err).NotTo(HaveOccurred())
	reader := csv.NewReader(strings.NewReader(string(output)))
	reader.TrimLeadingSpace = true
	rows, err := reader.ReadAll()
	Expect(err).NotTo(HaveOccurred())
	for _, row := range rows {
		Expect(row).To(HaveLen(5))
		if strings.TrimPrefix(row[0], "GPU-") != strings.TrimPrefix(uuid, "GPU-") {
			continue
		}
		return driverWord{uuid: row[0], name: row[1], memoryTotal: mebibytes(row[2]), memoryUsed: mebibytes(row[3]), computeCapability: row[4]}
	}
	Fail("the driver knows no device " + uuid + ":\n" + string(output))
	return driverWord{}
}

// deviceMemory is how many bytes of a device's memory the driver books to this process and, where it does not tell processes
// apart, to the whole device; whose says which.
func deviceMemory(ctx SpecContext, uuid string) (used uint64, whose string) {
	GinkgoHelper()
	whole := askDriver(ctx, uuid)
	output, err := exec.CommandContext(ctx, "nvidia-smi", "--query-compute-apps=pid,gpu_uuid,used_memory", "--format=csv,noheader,nounits").Output()
	if err != nil {
		return whole.memoryUsed, "the device"
	}
	for line := range strings.Lines(string(output)) {
		fields := strings.Split(strings.TrimSpace(line), ", ")
		if len(fields) != 3 || fields[0] != strconv.Itoa(os.Getpid()) || fields[1] != whole.uuid {
			continue
		}
		if used, err := strconv.ParseUint(fields[2], 10, 64); err == nil {
			return used << 20, "this process"
		}
	}
	return whole.memoryUsed, "the device"
}

func mebibytes(text string) uint64 {
	GinkgoHelper()
	value, err := strconv.ParseUint(text, 10, 64)
	Expect(err).NotTo(HaveOccurred())
	return value << 20
}
