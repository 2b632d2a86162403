package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	path := filepath.Join(Root(), "build", "native", "libtouchstone-"+digest+".so")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	folder := filepath.Dir(path)
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
	return path, os.Rename(unfinished.Name(), path)
}

// nativeDigest is a digest of every source of the library.
func nativeDigest() (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(filepath.Join(Root(), "native"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".cc", ".cu", ".cuh", ".h", ".sh"}, filepath.Ext(path)) {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(text), text)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil))[:16], err
}
