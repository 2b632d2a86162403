package reports

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ManifestFile marks a folder as written by this package, and lists what it wrote there.
const ManifestFile = "touchstone-report.txt"

// manifestHead begins every manifest; the files follow, one on a line.
const manifestHead = "Touchstone wrote this folder and replaces it whole. It holds:\n"

// Write writes the report into dir; see WriteFolder.
func Write(dir string, report *Report) error {
	files, err := report.Render()
	if err == nil {
		err = WriteFolder(dir, files)
	}
	if err != nil {
		return fmt.Errorf("write report %s: %w", dir, err)
	}
	return nil
}

// WriteFolder writes files, by slash-separated path, and their manifest into dir. It fills a new folder beside dir and
// renames it into place, so that all are there or none. An earlier folder of ours in dir is replaced; see Clear for others.
func WriteFolder(dir string, files map[string][]byte) (err error) {
	dir = resolved(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-unfinished-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(unfinished))
		}
	}()
	if err := os.Chmod(unfinished, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(unfinished, filepath.FromSlash(name)), content); err != nil {
			return err
		}
	}
	if _, given := files[ManifestFile]; !given {
		if err := writeFile(filepath.Join(unfinished, ManifestFile), manifest(files)); err != nil {
			return err
		}
	}
	if err := Clear(dir); err != nil {
		return err
	}
	return os.Rename(unfinished, dir)
}

func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync() // a full disk shows here at the latest
	}
	return errors.Join(err, file.Close())
}

func manifest(files map[string][]byte) []byte {
	var out bytes.Buffer
	out.WriteString(manifestHead)
	for _, name := range sortedKeys(files) {
		out.WriteString(name + "\n")
	}
	return out.Bytes()
}

// Clear removes a folder that this package wrote, so that a run that dies leaves no older report behind. What CheckFolder
// refuses it leaves untouched.
func Clear(dir string) error {
	if err := CheckFolder(dir); err != nil {
		return err
	}
	return os.RemoveAll(resolved(dir))
}

// CheckFolder tells whether WriteFolder would write into a folder: a missing or empty one is fine. One that holds anything
// that its manifest does not list, or no manifest, is refused.
func CheckFolder(dir string) error {
	dir = resolved(dir)
	found, err := contents(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(found) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil || !strings.HasPrefix(string(text), manifestHead) {
		return fmt.Errorf("%s holds files but no report of this harness: choose another report directory or empty it", dir)
	}
	ours := []string{ManifestFile}
	for name := range strings.Lines(strings.TrimPrefix(string(text), manifestHead)) {
		for name = strings.TrimSuffix(name, "\n"); name != "." && name != "/"; name = path.Dir(name) {
			ours = append(ours, name)
		}
	}
	for _, name := range found {
		if !slices.Contains(ours, name) {
			return fmt.Errorf("%s holds %s, which no gate wrote: choose another report directory or empty it", dir, name)
		}
	}
	return nil
}

// resolved is the folder that a link leads to, or dir where it leads nowhere.
func resolved(dir string) string {
	if target, err := filepath.EvalSymlinks(dir); err == nil {
		return target
	}
	return filepath.Clean(dir)
}

// contents lists every file and folder under dir by slash-separated path.
func contents(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(at string, _ fs.DirEntry, err error) error {
		if err != nil || at == dir {
			return err
		}
		name, err := filepath.Rel(dir, at)
		names = append(names, filepath.ToSlash(name))
		return err
	})
	return names, err
}
