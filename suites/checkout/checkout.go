// Package checkout finds the repository that a harness runs from, where there is one: a released binary has none.
package checkout

import (
	"os"
	"path/filepath"
)

// Root is the folder of the repository: the nearest folder above the working one that holds go.mod, or the working one where
// there is none.
func Root() string {
	root, _ := find()
	return root
}

// Found tells whether the harness runs inside a checkout of a Go module.
func Found() bool {
	_, found := find()
	return found
}

func find() (root string, found bool) {
	start, err := os.Getwd()
	if err != nil {
		return ".", false
	}
	for folder := start; ; folder = filepath.Dir(folder) {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder, true
		}
		if folder == filepath.Dir(folder) {
			return start, false
		}
	}
}
