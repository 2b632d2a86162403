package cuda

import (
	"encoding/csv"
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

func mebibytes(text string) uint64 {
	GinkgoHelper()
	value, err := strconv.ParseUint(text, 10, 64)
	Expect(err).NotTo(HaveOccurred())
	return value << 20
}
