package reports

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Write writes the report into dir. It fills a new folder beside dir and renames it into place, so
// that a report is there whole or not at all. An earlier report in dir is replaced; a folder that
// holds anything else is refused.
func Write(dir string, report *Report) error {
	files, err := report.Render()
	if err != nil {
		return fmt.Errorf("write report %s: %w", dir, err)
	}
	if err := writeFiles(dir, files); err != nil {
		return fmt.Errorf("write report %s: %w", dir, err)
	}
	return nil
}

func writeFiles(dir string, files map[string][]byte) (err error) {
	dir = filepath.Clean(dir)
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
	for path, content := range files {
		if err := writeFile(filepath.Join(unfinished, filepath.FromSlash(path)), content); err != nil {
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

// Clear removes the report in dir, so that a run that dies leaves no older report behind. A missing or
// empty folder is fine; a folder that is not a report is refused.
func Clear(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, GinkgoFile)); len(entries) > 0 && err != nil {
		return fmt.Errorf("%s holds files but no report: choose another report directory or empty it", dir)
	}
	return os.RemoveAll(dir)
}
