package abi

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"touchstone/native"
)

var update = flag.Bool("update", false, "write include/abi.json anew")

const description = "../include/abi.json"

func TestLayoutIsTheOneThatIsCheckedIn(t *testing.T) {
	current, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		text, err := json.MarshalIndent(current, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(description, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(description)
	if err != nil {
		t.Fatal(err)
	}
	var want Layout
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Structs) != len(current.Structs) {
		t.Fatalf("%d structs, checked in are %d", len(current.Structs), len(want.Structs))
	}
	for i := range want.Structs {
		if !reflect.DeepEqual(current.Structs[i], want.Structs[i]) {
			t.Errorf("the layout changed:\n%+v\nchecked in:\n%+v", current.Structs[i], want.Structs[i])
		}
	}
	if !reflect.DeepEqual(current, want) {
		t.Errorf("numbers changed: %v, checked in: %v", current.Constants, want.Constants)
	}
}

// A program in C alone loads the library that build-lib.sh makes, and the Go binding does too.
func TestSharedLibraryFromC(t *testing.T) {
	folder := t.TempDir()
	library, program := filepath.Join(folder, "libtouchstone.so"), filepath.Join(folder, "smoke")
	run(t, "../build-lib.sh", library, "-O0")
	run(t, "cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", program, "smoke/smoke.c", "-ldl", "-lm")
	if output := run(t, program, library); !strings.HasPrefix(output, "tokens ") || strings.Count(output, " ") != 8 {
		t.Errorf("the program printed %q", output)
	}
	l, err := native.OpenLibrary(library)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.Version(), native.Builtin().Version(); got != want {
		t.Errorf("version %q, the built-in library has %q", got, want)
	}
	if devices, err := l.Devices(); err != nil || len(devices) == 0 {
		t.Errorf("devices %v, %v", devices, err)
	}
	if speaks, err := native.Speaks(library, native.ABIMajor+1); speaks || err != nil {
		t.Errorf("the library speaks another major version (%v)", err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func run(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, arguments, err, output)
	}
	return string(output)
}
