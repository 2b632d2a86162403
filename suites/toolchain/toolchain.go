// Package toolchain builds what specs need beside the harness: programs in Go, and libraries and programs in C and C++.
package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"touchstone/suites/checkout"

	"github.com/onsi/gomega/gexec"
)

// Compiler is the C or C++ compiler that CC or CXX names, or the system's.
func Compiler(language string) string {
	name, standard := "CC", "cc"
	if language == "c++" {
		name, standard = "CXX", "c++"
	}
	if chosen := os.Getenv(name); chosen != "" {
		return chosen
	}
	return standard
}

// Compile runs a compiler in the repository's root; its error holds what the compiler said.
func Compile(ctx context.Context, language string, arguments ...string) error {
	command := exec.CommandContext(ctx, Compiler(language), arguments...)
	command.Dir = checkout.Root()
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, output)
	}
	return nil
}

// ToolsFolder is the folder of programs that were built beforehand, for machines without Go; empty where Go builds them.
func ToolsFolder() string {
	if folder := os.Getenv("GATE_TOOLS"); folder != "" {
		return absolute(folder)
	}
	return ""
}

func absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(checkout.Root(), filepath.FromSlash(path))
}

// Missing says why nothing can be compiled here; "" where it can.
func Missing() string {
	if !checkout.Found() {
		return "needs the sources of the native library: run in a checkout"
	}
	for _, language := range []string{"c", "c++"} {
		if _, err := exec.LookPath(Compiler(language)); err != nil {
			return "needs a compiler: " + err.Error()
		}
	}
	return ""
}

// Tool is the program of a Go package such as "touchstone/worker": the one of that name in ToolsFolder or beside the harness's
// own program, or built now. What was built is gone after gexec.CleanupBuildArtifacts.
func Tool(goPackage string) (string, error) {
	name := path.Base(goPackage)
	if folder := ToolsFolder(); folder != "" {
		program := filepath.Join(folder, name)
		if !isProgram(program) {
			return "", fmt.Errorf("GATE_TOOLS (%s) holds no program %s: put it there or unset GATE_TOOLS", folder, name)
		}
		return program, nil
	}
	if own, err := os.Executable(); err == nil {
		if program := filepath.Join(filepath.Dir(own), name); isProgram(program) {
			return program, nil
		}
	}
	if !checkout.Found() {
		return "", fmt.Errorf("there is no program %s beside this one: put it there, or give --worker-url or --worker-cmd", name)
	}
	return gexec.Build(goPackage)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// BuiltinLibrary is the built-in native library as a shared object, compiled from its sources once and kept under build/ for
// as long as they do not change.
func BuiltinLibrary(ctx context.Context) (string, error) {
	digest, err := nativeDigest()
	if err != nil {
		return "", err
	}
	library := filepath.Join(checkout.Root(), "build", "native", "libtouchstone-"+digest+".so")
	if _, err := os.Stat(library); err == nil {
		return library, nil
	}
	folder := filepath.Dir(library)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	unfinished, err := os.CreateTemp(folder, "unfinished-*.so")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(unfinished.Name()) }() // gone already if it was renamed
	if err := unfinished.Close(); err != nil {
		return "", err
	}
	command := exec.CommandContext(ctx, filepath.Join(checkout.Root(), "native", "build-lib.sh"), unfinished.Name(), "-O1")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("native/build-lib.sh: %w\n%s", err, output)
	}
	return library, os.Rename(unfinished.Name(), library)
}

// nativeDigest is a digest of every source of the library.
func nativeDigest() (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(filepath.Join(checkout.Root(), "native"), func(source string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".cc", ".cu", ".cuh", ".h", ".sh"}, filepath.Ext(source)) {
			return err
		}
		text, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(checkout.Root(), source)
		fmt.Fprintf(sum, "%s %d\n%s", relative, len(text), text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}
