package ffi

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/checkout"
	"touchstone/suites/target"
	"touchstone/suites/toolchain"
)

const header = "native/include/touchstone.h"

// Interface stable and documented.
func registerInterface(subject func() *target.Target) {
	Describe("the C interface", requirement.Claim("abi.interface"), func() {
		It("refuses a wrong major version", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			path := subject().Profile.NativeLib
			for major, want := range map[uint32]bool{native.ABIMajor: true, native.ABIMajor + 1: false, 0: false, 0xffffffff: false} {
				speaks, err := native.Speaks(path, major)
				Expect(err).NotTo(HaveOccurred())
				Expect(speaks).To(Equal(want), "major version %d", major)
			}
			evidence.Observe("major version spoken", native.ABIMajor, "")
		})

		It("has the sizes, offsets and values that were agreed on", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native, target.Compiler)
			output, err := exec.CommandContext(ctx, build(ctx, "layout.c")).Output()
			Expect(err).NotTo(HaveOccurred())
			got, want := strings.Split(strings.TrimSpace(string(output)), "\n"), strings.Split(strings.TrimSpace(checked), "\n")
			for i := range min(len(got), len(want)) {
				Expect(got[i]).To(Equal(want[i]), "line %d of suites/ffi/abi.txt: the ABI has changed", i+1)
			}
			Expect(got).To(HaveLen(len(want)), "lines of suites/ffi/abi.txt")
			evidence.Observe("sizes, offsets and values", len(got), "")
		})

		It("compiles alone as C11 and as C++17, without a warning", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native, target.Compiler)
			strict := []string{"-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"}
			Expect(toolchain.Compile(ctx, "c", append(strict, "-std=c11", "-x", "c", header)...)).To(Succeed())
			Expect(toolchain.Compile(ctx, "c++", append(strict, "-std=c++17", "-x", "c++", header)...)).To(Succeed())
			evidence.Observe("standards", []string{"C11", "C++17"}, "")
		})

		It("lets a C program load the library and generate tokens", SpecTimeout(specTimeout), func(ctx SpecContext) {
			subject().Require(target.Native, target.Compiler)
			library, err := subject().SharedLibrary(ctx)
			Expect(err).NotTo(HaveOccurred())
			command := exec.CommandContext(ctx, build(ctx, "generate.c", "-ldl"), library)
			output, err := command.CombinedOutput()
			Expect(err).NotTo(HaveOccurred(), "%s", output)
			evidence.Attach("output", "text/plain", output)
			tokens := strings.Fields(string(output))
			Expect(tokens).To(HaveLen(13))
			Expect(tokens[0]).To(Equal("tokens"))
			again, err := exec.CommandContext(ctx, command.Path, library).Output()
			Expect(err).NotTo(HaveOccurred())
			Expect(string(again)).To(Equal(string(output)), "a second run")
		})

		It("documents every declaration", SpecTimeout(specTimeout), func(SpecContext) {
			subject().Require(target.Native)
			text, err := os.ReadFile(filepath.Join(checkout.Root(), filepath.FromSlash(header)))
			Expect(err).NotTo(HaveOccurred())
			total, bare := documented(string(text))
			Expect(total).To(BeNumerically(">", 150), "declarations found in the header: the check sees too little")
			Expect(bare).To(BeEmpty(), "declarations without a comment")
			for _, rule := range []string{"ownership", "threads", "units", "struct_size", "status"} {
				Expect(string(text)).To(ContainSubstring(rule), "the rules that hold everywhere")
			}
			evidence.Observe("documented declarations", total, "")
		})
	})
}

var declaration = regexp.MustCompile(`^\s*(typedef (enum|struct) \w+( \w+;| \{)|TS_\w+ = |#define TS_[A-Z_]+ |[\w ]+[* ]\w+(\[\w+\])?;|(const )?\w+[ *]+\(\*\w+\)\(|const ts_api\* ts_get_api)`)

// documented counts the declarations of a header and lists those that neither end in a comment nor follow one.
func documented(text string) (total int, bare []string) {
	lines := strings.Split(text, "\n")
	inComment, afterComment := false, false
	for _, line := range lines {
		trimmed := strings.TrimSpace(line)
		if inComment || strings.HasPrefix(trimmed, "/*") {
			inComment = !strings.Contains(trimmed, "*/")
			afterComment = !inComment
			continue
		}
		if declaration.MatchString(line) {
			total++
			ownComment := strings.Contains(line, "/*")
			inComment = ownComment && !strings.Contains(line, "*/")
			if !ownComment && !afterComment {
				bare = append(bare, trimmed)
			}
		}
		afterComment = false
	}
	return total, bare
}
