// Package touchstone holds the rules about the repository as a whole, as tests.
package touchstone

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// goPackage is what `go list -json` says of a package, as far as the arrows need it.
type goPackage struct {
	ImportPath   string
	Dir          string
	CgoFiles     []string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// mayImport holds the arrows between the top-level folders: a folder may import itself and what is listed here.
var mayImport = map[string][]string{
	"native":   {},
	"reports":  {},
	"worker":   {"native"},
	"fixtures": {"native"},
	"suites":   {"fixtures", "native", "reports"},
	"gates":    {"fixtures", "reports", "suites"},
}

func TestImportArrows(t *testing.T) {
	packages := listPackages(t)
	for _, p := range packages {
		from := topFolder(p.ImportPath)
		allowed, known := mayImport[from]
		if !known {
			if from != "" {
				t.Errorf("%s: %q is not one of the top-level folders", p.ImportPath, from)
			}
			continue
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			to := topFolder(imported)
			if to == "" || to == from || slices.Contains(allowed, to) {
				continue
			}
			t.Errorf("%s imports %s: %s may import %v of this module", p.ImportPath, imported, from, allowed)
		}
	}
}

func TestCgoStaysInNative(t *testing.T) {
	for _, p := range listPackages(t) {
		if len(p.CgoFiles) > 0 && topFolder(p.ImportPath) != "native" {
			t.Errorf(`%s: import "C" stands in native/ alone, not in %v`, p.ImportPath, p.CgoFiles)
		}
	}
}

// A suite is a library: whoever imports it decides what runs, so nothing may register itself.
func TestSuitesRegisterNothingByThemselves(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("suites", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		seen++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, found := range selfRegistrations(file) {
			t.Errorf("%s: %s; export a Register function that a gate calls", path, found)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Error("no Go file found under suites/: the rule was checked against nothing")
	}
}

// selfRegistrations lists init functions and package-level Ginkgo containers of a file.
func selfRegistrations(file *ast.File) []string {
	containers := []string{"Describe", "Context", "When", "DescribeTable"}
	var found []string
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				found = append(found, "has an init function")
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for _, expression := range value.Values {
					call, ok := expression.(*ast.CallExpr)
					if !ok {
						continue
					}
					if name, ok := call.Fun.(*ast.Ident); ok && slices.Contains(containers, name.Name) {
						found = append(found, "has a package-level "+name.Name)
					}
				}
			}
		}
	}
	return found
}

func TestSelfRegistrationsAreSeen(t *testing.T) {
	source := "package p\nvar _ = Describe(\"x\", func() {})\nfunc init() {}\n"
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", source, 0)
	if err != nil {
		t.Fatal(err)
	}
	if found := selfRegistrations(file); len(found) != 2 {
		t.Errorf("want the Describe and the init reported, got %v", found)
	}
}

// topFolder gives the first folder of a package of this module, and "" for any other.
func topFolder(importPath string) string {
	rest, ours := strings.CutPrefix(importPath, "touchstone/")
	if !ours {
		return ""
	}
	folder, _, _ := strings.Cut(rest, "/")
	return folder
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,CgoFiles,GoFiles,Imports,TestImports,XTestImports", "./...")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	decoder := json.NewDecoder(bytes.NewReader(output))
	for {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 2 {
		t.Fatalf("go list found %d packages: the rule was checked against nothing", len(packages))
	}
	return packages
}
