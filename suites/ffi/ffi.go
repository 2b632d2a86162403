// Package ffi holds the specs of the native interface: the C ABI itself, its Go binding, its errors and its life cycle.
package ffi

import (
	"embed"
	"path/filepath"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/suites/target"
	"touchstone/suites/toolchain"
)

// specTimeout covers a compilation of the library on a slow machine.
const specTimeout = 3 * time.Minute

// Register adds the specs to the container that calls it.
func Register(subject func() *target.Target) {
	registerInterface(subject)
	registerOwnership(subject)
	registerErrors(subject)
	registerLifeCycle(subject)
	registerModels(subject)
	registerHandles(subject)
}

// checked is the ABI as it was agreed on: what c/layout.c printed when the header was frozen. A change of it is a change of
// the ABI and wants a new major or minor version.
//
//go:embed abi.txt
var checked string

// programs are the C clients; they are embedded so that the Go tool notices a change.
//
//go:embed c/*.c
var programs embed.FS

const programFolder = "suites/ffi/c"

// build compiles one of the C programs into a temporary folder.
func build(ctx SpecContext, name string, arguments ...string) string {
	GinkgoHelper()
	_, err := programs.ReadFile("c/" + name)
	Expect(err).NotTo(HaveOccurred())
	output := filepath.Join(GinkgoT().TempDir(), name+".out")
	all := []string{"-std=c11", "-D_DEFAULT_SOURCE", "-Wall", "-Wextra", "-Werror", "-pedantic", filepath.Join(programFolder, name), "-o", output}
	Expect(toolchain.Compile(ctx, "c", append(all, arguments...)...)).To(Succeed())
	return output
}
