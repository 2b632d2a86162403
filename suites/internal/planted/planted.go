// Package planted makes a copy of the library under test whose driver answers that one block of memory is not resident: the
// situation that a residency check has to notice. The library in fixtures/saboteurs/native plays it.
package planted

import (
	"os"
	"path/filepath"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/fixtures/saboteurs"
	"touchstone/suites/target"
	"touchstone/suites/toolchain"
)

// BlockLabel is the label of the planted block.
const BlockLabel = "planted"

// Always plants from the beginning.
const Always = "nonresident"

// Once plants from the moment a file exists.
func Once(file string) string { return "nonresident-once:" + file }

const (
	wrappedLibrary = "SABOTEUR_LIBRARY"
	plant          = "SABOTEUR_PLANT"
)

// Library is the path of the copy; its environment holds for the spec. A library that is a wrapper already plays the plant
// itself; any other is wrapped.
func Library(ctx SpecContext, subject *target.Target, how string) string {
	GinkgoHelper()
	real, err := subject.SharedLibrary(ctx)
	Expect(err).NotTo(HaveOccurred())
	GinkgoT().Setenv(plant, how)
	path := filepath.Join(GinkgoT().TempDir(), "planted.so")
	if os.Getenv(wrappedLibrary) != "" {
		text, err := os.ReadFile(real)
		Expect(err).NotTo(HaveOccurred())
		Expect(os.WriteFile(path, text, 0o700)).To(Succeed())
		return path
	}
	GinkgoT().Setenv(wrappedLibrary, real)
	Expect(toolchain.Compile(ctx, "c", saboteurs.NativeBuild(path)...)).To(Succeed())
	return path
}
