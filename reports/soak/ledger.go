package soak

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Ledger is the append-only file of a soak, one JSON line a fact. A line counts when it is on the disk: Append returns
// after fsync. A ledger is written by one process at a time, which holds a lock on the file until Close. It is not safe
// for concurrent use.
//
// A ledger on disk keeps its runs there alone, so that a long soak needs no more memory than a short one: Records stays
// empty, and ReadLedger gives them.
type Ledger struct {
	Contents
	file *os.File // nil: the ledger is in memory only
}

// NewLedger starts a ledger in memory, for a soak that needs none on disk.
func NewLedger(header Header) *Ledger {
	return &Ledger{Contents: newContents(header)}
}

// OpenLedger starts the ledger at path, or goes on with the one that is there: its last line is cut off if it is torn. It
// is an error if the ledger is of another soak or another process writes it. The caller closes it.
func OpenLedger(path string, header Header) (_ *Ledger, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%s is being written by another process: wait for its end or give another --report-dir", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	contents, whole, err := parse(text)
	switch {
	case errors.Is(err, errNoHeader):
		return createLedger(path, file, header)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := contents.Header.sameSoak(header); err != nil {
		return nil, fmt.Errorf("%s cannot be gone on with: %w; give the same settings or another --report-dir", path, err)
	}
	if err := file.Truncate(int64(whole)); err != nil {
		return nil, err
	}
	if _, err := file.Seek(int64(whole), 0); err != nil {
		return nil, err
	}
	contents.Records = nil
	return &Ledger{Contents: contents, file: file}, file.Sync()
}

// createLedger writes the header of a new ledger, over one that was torn while its header was written.
func createLedger(path string, file *os.File, header Header) (*Ledger, error) {
	if err := file.Truncate(0); err != nil {
		return nil, err
	}
	l := &Ledger{Contents: newContents(header), file: file}
	if err := l.write(Line{Header: &header}); err != nil {
		return nil, err
	}
	return l, syncFolder(filepath.Dir(path))
}

// syncFolder makes the name of a new file durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Append adds a line, and returns when it is on the disk.
func (l *Ledger) Append(line Line) error {
	if err := l.add(line); err != nil || l.file == nil {
		return err
	}
	l.Records = nil
	return l.write(line)
}

func (l *Ledger) write(line Line) error {
	if _, err := l.file.Write(line.encode()); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("write the ledger through to the disk: %w", err)
	}
	return nil
}

// Close ends writing and releases the lock.
func (l *Ledger) Close() error {
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// ReadLedger reads a ledger that may be under way; a torn last line is left out.
func ReadLedger(path string) (Contents, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Contents{}, err
	}
	contents, _, err := parse(text)
	if err != nil {
		return Contents{}, fmt.Errorf("%s: %w", path, err)
	}
	return contents, nil
}

// MasterSeedOf gives the master seed of the ledger at path; false if there is no ledger yet.
func MasterSeedOf(path string) (seed uint64, found bool, err error) {
	contents, err := ReadLedger(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoHeader):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	}
	return contents.Header.Plan.MasterSeed, true, nil
}

var errNoHeader = errors.New("it has no header: it is not the ledger of a soak")

// parse reads lines; whole is the number of bytes of complete ones. The last line is torn if its end is missing or it is
// not JSON: a process was killed, or a machine lost power, while it was written.
func parse(text []byte) (contents Contents, whole int, err error) {
	for number := 1; whole < len(text); number++ {
		length := bytes.IndexByte(text[whole:], '\n') + 1
		if length == 0 {
			break
		}
		var line Line
		decoder := json.NewDecoder(bytes.NewReader(text[whole : whole+length]))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(&line)
		if err != nil && whole+length == len(text) {
			break
		}
		if err == nil {
			err = contents.take(line, number)
		}
		if err != nil {
			return contents, whole, fmt.Errorf("line %d: %w", number, err)
		}
		whole += length
	}
	if contents.Header.Format == "" {
		return contents, 0, errNoHeader
	}
	return contents, whole, nil
}
