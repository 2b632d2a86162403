package process

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Identity is which program a process runs, by the system's word.
type Identity struct {
	PID    int
	Path   string // of the program; of the script where an interpreter runs one
	SHA256 string // of that file, lower-case hex; empty if it cannot be read
	// Interpreter is the executable that runs the script; empty for a program that runs by itself.
	Interpreter string
}

// interpreters run programs that are files of their own.
var interpreters = regexp.MustCompile(`^(python|pypy|node|nodejs|deno|bun|ruby|perl|java|bash|dash|sh|zsh)[0-9.]*$`)

// Listening tells which process listens on a TCP port of this machine, by /proc. It is an error if none is found, as for a
// port of another machine or a process of another user.
func Listening(port int) (Identity, error) {
	inode, err := listeningInode(port)
	if err != nil {
		return Identity{}, err
	}
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return Identity{}, err
	}
	want := "socket:[" + inode + "]"
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && target == want {
			pid, err := strconv.Atoi(strings.Split(link, "/")[2])
			if err != nil {
				return Identity{}, err
			}
			return Of(pid)
		}
	}
	return Identity{}, fmt.Errorf("no process that can be seen holds the socket of port %d", port)
}

// listeningInode finds the socket that listens on a port in the kernel's tables (proc(5), /proc/net/tcp).
func listeningInode(port int) (string, error) {
	const stateListen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == stateListen {
				return fields[9], nil
			}
		}
	}
	return "", fmt.Errorf("nothing listens on port %d of this machine", port)
}

// Of tells which program a process runs.
func Of(pid int) (Identity, error) {
	folder := filepath.Join("/proc", strconv.Itoa(pid))
	executable, err := os.Readlink(filepath.Join(folder, "exe"))
	if err != nil {
		return Identity{}, fmt.Errorf("the program of process %d cannot be told: %w", pid, err)
	}
	identity := Identity{PID: pid, Path: executable}
	if interpreters.MatchString(filepath.Base(executable)) {
		if script := scriptOf(folder); script != "" {
			identity.Path, identity.Interpreter = script, executable
		}
	}
	if identity.Path == executable {
		identity.SHA256 = Digest(filepath.Join(folder, "exe")) // the very file, also if another lies at its path by now
	} else {
		identity.SHA256 = Digest(identity.Path)
	}
	return identity, nil
}

// scriptOf is the first argument of a process that is a file; none if the interpreter runs a module or a piece of code, where a
// file among the arguments, such as a model, is no program.
func scriptOf(folder string) string {
	line, err := os.ReadFile(filepath.Join(folder, "cmdline"))
	if err != nil {
		return ""
	}
	arguments := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
	for _, argument := range arguments[1:] {
		if argument == "-m" || argument == "-c" || argument == "-e" {
			return ""
		}
		path := argument
		if !filepath.IsAbs(path) {
			working, err := os.Readlink(filepath.Join(folder, "cwd"))
			if err != nil {
				return ""
			}
			path = filepath.Join(working, path)
		}
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// Digest is the SHA-256 of a file in lower-case hex; empty if it cannot be read.
func Digest(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// UsesNVIDIA tells whether a process, or one that it started, has a device of the NVIDIA driver open. It is an error where the
// system does not let this process look.
func UsesNVIDIA(pid int) (bool, error) {
	for _, member := range family(pid) {
		folder := filepath.Join("/proc", strconv.Itoa(member), "fd")
		entries, err := os.ReadDir(folder)
		if err != nil {
			return false, fmt.Errorf("what process %d has open cannot be seen: %w", member, err)
		}
		for _, entry := range entries {
			target, err := os.Readlink(filepath.Join(folder, entry.Name()))
			if err == nil && nvidiaCard.MatchString(target) {
				return true, nil
			}
		}
	}
	return false, nil
}

// nvidiaCard is the device file of one card; those for control are opened by anybody who asks whether there is a card.
var nvidiaCard = regexp.MustCompile(`^/dev/nvidia[0-9]+$`)

// family is a process with all that descend from it, by their parents in /proc (proc(5), /proc/pid/stat).
func family(pid int) []int {
	children := map[int][]int{}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return []int{pid}
	}
	for _, folder := range folders {
		text, err := os.ReadFile(filepath.Join(folder, "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		_, rest, _ := strings.Cut(string(text), ") ") // the name may hold spaces
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			continue
		}
		parent, err := strconv.Atoi(fields[1])
		own, ownErr := strconv.Atoi(filepath.Base(folder))
		if err == nil && ownErr == nil {
			children[parent] = append(children[parent], own)
		}
	}
	members := []int{pid}
	for at := 0; at < len(members); at++ {
		members = append(members, children[members[at]]...)
	}
	return members
}
