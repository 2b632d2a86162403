// Package gguf reads and writes GGUF model files, versions 2 and 3, little-endian (https://github.com/ggml-org/ggml,
// docs/gguf.md).
//
// It is the only parser of model files: everything it returns has been checked against the bytes that are there. Memory
// it allocates while parsing is proportional to the size of the header, never to a number that the header claims.
package gguf

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Limits of the format. Files beyond them are refused.
const (
	MaxTensors      = 1 << 16 // tensors of a file
	MaxKeys         = 1 << 16 // metadata keys of a file
	MaxKeyBytes     = 1<<16 - 1
	MaxNameBytes    = 64 // of a tensor's name
	MaxDims         = 4
	MaxAlignment    = 1 << 20
	defaultAlign    = 32
	alignmentKey    = "general.alignment"
	headerBytes     = 24
	minimalKeyBytes = 8 + 1 + 4 + 1         // length, one character, value type, one byte of value
	minimalTensor   = 8 + 1 + 4 + 8 + 4 + 8 // length, one character, dimensions, one dimension, type, offset
)

var magic = [4]byte{'G', 'G', 'U', 'F'}

// A File is a parsed GGUF file.
type File struct {
	Metadata           // the key-value pairs
	Version   uint32   // 2 or 3
	Alignment uint64   // bytes; every tensor's data starts at a multiple of it
	Tensors   []Tensor // in file order

	byName  map[string]int
	path    string
	mapping []byte
}

// A Tensor is one tensor of a file.
type Tensor struct {
	Name   string
	Type   Type
	Shape  []uint64 // elements along each dimension, the fastest first; 1 to MaxDims dimensions, none of them 0
	Offset uint64   // of the data from the beginning of the file, in bytes
	Bytes  uint64   // size of the data
	Data   []byte   // the data itself, part of the mapping; not to be written to, and invalid after File.Close
}

// Open maps a file read-only and parses it. The caller closes it. The file must not be shortened while it is open.
// Errors are of type *Error.
func Open(path string) (*File, error) {
	mapping, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	f, err := parse(mapping, path)
	if err != nil {
		_ = unix.Munmap(mapping) // what matters is why the file cannot be used
		return nil, err
	}
	f.mapping = mapping
	return f, nil
}

// Parse parses a file that is in memory. The tensors' data are parts of data, which must not change meanwhile.
// Errors are of type *Error.
func Parse(data []byte) (*File, error) {
	return parse(data, "")
}

// Close gives the mapping back; after it the metadata and the tensors' data are gone. Closing twice is harmless. It must
// not run beside other uses of the file.
func (f *File) Close() error {
	mapping := f.mapping
	f.mapping = nil
	f.close()
	for i := range f.Tensors {
		f.Tensors[i].Data = nil
	}
	if mapping == nil {
		return nil
	}
	return unix.Munmap(mapping)
}

// Tensor finds a tensor by its name.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.byName[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensors[i], true
}

func mapFile(path string) ([]byte, error) {
	fail := func(message string, err error) ([]byte, error) {
		return nil, &Error{Code: CodeOpen, Path: path, Offset: -1, Message: message, Err: err}
	}
	// Looked at before it is opened: opening a pipe would wait for its writer.
	info, err := os.Stat(path)
	if err != nil {
		return fail("cannot open the model file; check the path and its permissions", err)
	}
	if !info.Mode().IsRegular() {
		return fail("not a regular file; name a GGUF model file", nil)
	}
	if info.Size() == 0 {
		return nil, &Error{Code: CodeTruncated, Path: path, Offset: 0, Message: "the file is empty; copy or download it again"}
	}
	file, err := os.Open(path)
	if err != nil {
		return fail("cannot open the model file; check the path and its permissions", err)
	}
	defer file.Close()
	mapping, err := unix.Mmap(int(file.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_PRIVATE)
	runtime.KeepAlive(file)
	if err != nil {
		return fail("cannot map the model file into memory", err)
	}
	return mapping, nil
}

func parse(data []byte, path string) (*File, error) {
	f := &File{path: path}
	c := &cursor{data: data}
	if err := f.parse(c); err != nil {
		err.Path = path
		return nil, err
	}
	return f, nil
}

func (f *File) parse(c *cursor) *Error {
	tensors, keys, err := f.parseHeader(c)
	if err != nil {
		return err
	}
	if err := f.Metadata.parse(c, keys); err != nil {
		return err
	}
	if err := f.parseAlignment(); err != nil {
		return err
	}
	if err := f.parseTensors(c, tensors); err != nil {
		return err
	}
	return f.locate(c)
}

func (f *File) parseHeader(c *cursor) (tensors, keys uint64, err *Error) {
	if len(c.data) < headerBytes {
		if len(c.data) >= len(magic) && [4]byte(c.data) != magic {
			return 0, 0, notGGUF(c.data)
		}
		return 0, 0, c.fail(CodeTruncated, 0, "the file ends in its header (%d of %d bytes); copy or download it again", len(c.data), headerBytes)
	}
	if [4]byte(c.data) != magic {
		return 0, 0, notGGUF(c.data)
	}
	c.at = uint64(len(magic))
	// The header is there as a whole: these reads cannot fail.
	f.Version, _ = c.uint32("version")
	tensors, _ = c.uint64("number of tensors")
	keys, _ = c.uint64("number of metadata keys")
	switch {
	case f.Version == 2 || f.Version == 3:
	case f.Version != 0 && f.Version&0xffff == 0:
		return 0, 0, c.fail(CodeByteOrder, 4, "the file is big-endian; convert it to little-endian")
	default:
		return 0, 0, c.fail(CodeVersion, 4, "GGUF version %d is not supported (2 and 3 are); convert the model again", f.Version)
	}
	if tensors > MaxTensors {
		return 0, 0, c.fail(CodeTensor, 8, "the header claims %d tensors, more than the %d allowed; the file is damaged", tensors, MaxTensors)
	}
	if keys > MaxKeys {
		return 0, 0, c.fail(CodeMetadata, 16, "the header claims %d metadata keys, more than the %d allowed; the file is damaged", keys, MaxKeys)
	}
	if need, left := keys*minimalKeyBytes+tensors*minimalTensor, c.left(); need > left {
		return 0, 0, c.fail(CodeTruncated, c.at, "%d keys and %d tensors need at least %d bytes of header, %d are there; copy or download the file again", keys, tensors, need, left)
	}
	return tensors, keys, nil
}

func notGGUF(data []byte) *Error {
	e := &Error{Code: CodeMagic, Offset: 0, Message: fmt.Sprintf("not a GGUF file: it starts with %q, not \"GGUF\"; name a GGUF model file", data[:len(magic)])}
	if string(data[:len(magic)]) == "FUGG" {
		e.Code, e.Message = CodeByteOrder, "the file is big-endian; convert it to little-endian"
	}
	return e
}

func (f *File) parseAlignment() *Error {
	f.Alignment = defaultAlign
	v, ok := f.values[alignmentKey]
	if !ok {
		return nil
	}
	alignment, err := f.Uint64(alignmentKey)
	if err != nil || !validAlignment(alignment) {
		return &Error{Code: CodeMetadata, Offset: int64(v.at), Message: fmt.Sprintf("%s must be a power of two from 1 to %d; convert the model again", alignmentKey, MaxAlignment)}
	}
	f.Alignment = alignment
	return nil
}

func validAlignment(alignment uint64) bool {
	return alignment <= MaxAlignment && bits.OnesCount64(alignment) == 1
}

func (f *File) parseTensors(c *cursor, count uint64) *Error {
	f.Tensors = make([]Tensor, 0, count)
	f.byName = make(map[string]int, count)
	for range count {
		t, err := parseTensor(c)
		if err != nil {
			return err
		}
		if _, ok := f.byName[t.Name]; ok {
			return c.fail(CodeTensor, c.at, "tensor %q appears twice; convert the model again", t.Name)
		}
		f.byName[t.Name] = len(f.Tensors)
		f.Tensors = append(f.Tensors, t)
	}
	return nil
}

// validName tells whether a name of a tensor or key is one: a NUL would end it early where names are C strings.
func validName(raw []byte) bool {
	return len(raw) > 0 && utf8.Valid(raw) && !bytes.Contains(raw, []byte{0})
}

// parseTensor reads one tensor's description; Offset is still relative to the data section.
func parseTensor(c *cursor) (Tensor, *Error) {
	start := c.at
	raw, err := c.str("tensor name", MaxNameBytes)
	if err != nil {
		return Tensor{}, err
	}
	if !validName(raw) {
		return Tensor{}, c.fail(CodeTensor, start, "a tensor's name is %q; names are non-empty UTF-8 without NUL; the file is damaged", raw)
	}
	t := Tensor{Name: string(raw)}
	dims, err := c.uint32("number of dimensions of tensor " + t.Name)
	if err != nil {
		return t, err
	}
	if dims == 0 || dims > MaxDims {
		return t, c.fail(CodeTensor, start, "tensor %q has %d dimensions (1 to %d are allowed); the file is damaged", t.Name, dims, MaxDims)
	}
	t.Shape = make([]uint64, dims)
	for i := range t.Shape {
		if t.Shape[i], err = c.uint64("shape of tensor " + t.Name); err != nil {
			return t, err
		}
	}
	kind, err := c.uint32("type of tensor " + t.Name)
	if err != nil {
		return t, err
	}
	t.Type = Type(kind)
	if t.Offset, err = c.uint64("offset of tensor " + t.Name); err != nil {
		return t, err
	}
	size, sizeErr := t.Type.Size(t.Shape)
	if sizeErr != nil {
		code := CodeTensor
		if !t.Type.Supported() {
			code = CodeUnsupportedType
		}
		return t, c.fail(code, start, "tensor %q: %v", t.Name, sizeErr)
	}
	t.Bytes = size
	return t, nil
}

// locate turns the tensors' offsets into offsets from the beginning of the file and gives them their data.
func (f *File) locate(c *cursor) *Error {
	begin := alignUp(c.at, f.Alignment)
	size := uint64(len(c.data))
	order := make([]int, len(f.Tensors))
	for i := range f.Tensors {
		t := &f.Tensors[i]
		order[i] = i
		if t.Offset%f.Alignment != 0 {
			return c.fail(CodeTensor, c.at, "tensor %q starts at offset %d, which is not a multiple of the alignment %d; the file is damaged", t.Name, t.Offset, f.Alignment)
		}
		offset, carry1 := bits.Add64(begin, t.Offset, 0)
		end, carry2 := bits.Add64(offset, t.Bytes, 0)
		if carry1+carry2 != 0 {
			return c.fail(CodeTensor, c.at, "tensor %q: offset %d and size %d overflow; the file is damaged", t.Name, t.Offset, t.Bytes)
		}
		if end > size {
			return c.fail(CodeTruncated, size, "tensor %q takes bytes %d to %d, but the file ends at %d; copy or download it again", t.Name, offset, end, size)
		}
		t.Offset = offset
		t.Data = c.data[offset:end:end]
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Compare(f.Tensors[a].Offset, f.Tensors[b].Offset)
	})
	for i := 1; i < len(order); i++ {
		before, after := &f.Tensors[order[i-1]], &f.Tensors[order[i]]
		if before.Offset+before.Bytes > after.Offset {
			return c.fail(CodeTensor, after.Offset, "tensors %q and %q overlap; the file is damaged", before.Name, after.Name)
		}
	}
	return nil
}

func alignUp(n, alignment uint64) uint64 {
	return (n + alignment - 1) / alignment * alignment
}

// cursor reads little-endian values and never leaves the data.
type cursor struct {
	data []byte
	at   uint64 // at <= len(data)
}

func (c *cursor) left() uint64 { return uint64(len(c.data)) - c.at }

func (c *cursor) fail(code Code, at uint64, format string, args ...any) *Error {
	return &Error{Code: code, Offset: int64(at), Message: fmt.Sprintf(format, args...)}
}

// take returns the next n bytes; what says in the error what they would have been.
func (c *cursor) take(n uint64, what string) ([]byte, *Error) {
	if n > c.left() {
		return nil, c.fail(CodeTruncated, c.at, "%s needs %d bytes, %d are left; copy or download the file again", what, n, c.left())
	}
	b := c.data[c.at : c.at+n]
	c.at += n
	return b, nil
}

func (c *cursor) uint32(what string) (uint32, *Error) {
	b, err := c.take(4, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

func (c *cursor) uint64(what string) (uint64, *Error) {
	b, err := c.take(8, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// str reads a string of at most limit bytes.
func (c *cursor) str(what string, limit uint64) ([]byte, *Error) {
	start := c.at
	n, err := c.uint64("length of a " + what)
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, c.fail(CodeMetadata, start, "a %s claims %d bytes, at most %d are allowed; the file is damaged", what, n, limit)
	}
	return c.take(n, what)
}
