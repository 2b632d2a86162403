// Package damaged writes spoiled copies of model files.
package damaged

import (
	"bytes"
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native/gguf"
)

// File writes a spoiled copy of a model file, which is gone after the spec, and returns its path.
func File(model string, damage func(text []byte, file *gguf.File) []byte) string {
	GinkgoHelper()
	text, err := os.ReadFile(model)
	Expect(err).NotTo(HaveOccurred())
	file, err := gguf.Parse(bytes.Clone(text))
	Expect(err).NotTo(HaveOccurred())
	path := filepath.Join(GinkgoT().TempDir(), "damaged.gguf")
	Expect(os.WriteFile(path, damage(text, file), 0o600)).To(Succeed())
	return path
}
