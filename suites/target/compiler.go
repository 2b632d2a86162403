package target

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
	command.Dir = Root()
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command.Args, " "), err, output)
	}
	return nil
}

// ToolsFolder is the folder of programs that were built beforehand, for machines without Go; empty where Go builds them.
func ToolsFolder() string {
	if folder := os.Getenv("GATE_TOOLS"); folder != "" {
		return fromRoot(folder)
	}
	return ""
}

// Tool is the program of a Go package such as "touchstone/worker": the one of that name in ToolsFolder, or built now. What
// was built is gone after Close.
func Tool(goPackage string) (string, error) {
	folder := ToolsFolder()
	if folder == "" {
		return gexec.Build(goPackage)
	}
	program := filepath.Join(folder, path.Base(goPackage))
	if info, err := os.Stat(program); err != nil || !info.Mode().IsRegular() {
		return "", fmt.Errorf("GATE_TOOLS (%s) holds no program %s: put it there or unset GATE_TOOLS", folder, path.Base(goPackage))
	}
	return program, nil
}

// SharedLibrary is the library under test as a shared object: the one that --native-lib names, or the built-in one, compiled
// from its sources once and kept under build/ for as long as they do not change.
func (t *Target) SharedLibrary(ctx context.Context) (string, error) {
	if t.Config.NativeLib != "" {
		return t.Config.NativeLib, nil
	}
	digest, err := nativeDigest()
	if err != nil {
		return "", err
	}
	library := filepath.Join(Root(), "build", "native", "libtouchstone-"+digest+".so")
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
	command := exec.CommandContext(ctx, filepath.Join(Root(), "native", "build-lib.sh"), unfinished.Name(), "-O1")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("native/build-lib.sh: %w\n%s", err, output)
	}
	return library, os.Rename(unfinished.Name(), library)
}

// nativeDigest is a digest of every source of the library.
func nativeDigest() (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(filepath.Join(Root(), "native"), func(source string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".cc", ".cu", ".cuh", ".h", ".sh"}, filepath.Ext(source)) {
			return err
		}
		text, err := os.ReadFile(source)
		fmt.Fprintf(sum, "%s %d\n%s", source, len(text), text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}
