package gguf

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// A KeyValue is a metadata entry to write. Value is a bool, a string, an integer or float of a fixed width
// (uint8 ... uint64, int8 ... int64, float32, float64), or a slice of one of these.
type KeyValue struct {
	Key   string
	Value any
}

// KeyValues gives all entries in file order, in the form that Write takes.
func (m *Metadata) KeyValues() []KeyValue {
	entries := make([]KeyValue, len(m.keys))
	for i, key := range m.keys {
		entries[i] = KeyValue{Key: key, Value: m.values[key].decoded()}
	}
	return entries
}

// A TensorSource is a tensor to write. WriteData is called once, in order of the tensors, and writes exactly the bytes
// that Type and Shape imply; it need not hold them in memory.
type TensorSource struct {
	Name      string
	Type      Type
	Shape     []uint64 // fastest dimension first
	WriteData func(w io.Writer) error
}

// Write streams a GGUF file, version 3, little-endian. general.alignment in the metadata is obeyed. Anything the reader
// would refuse is refused, before the first byte is written.
func Write(w io.Writer, metadata []KeyValue, tensors []TensorSource) error {
	alignment := uint64(defaultAlign)
	header := append(make([]byte, 0, 1<<12), magic[:]...)
	header = binary.LittleEndian.AppendUint32(header, 3)
	header = binary.LittleEndian.AppendUint64(header, uint64(len(tensors)))
	header = binary.LittleEndian.AppendUint64(header, uint64(len(metadata)))
	for _, kv := range metadata {
		var err error
		header = appendString(header, kv.Key)
		if header, err = appendValue(header, kv.Value); err != nil {
			return fmt.Errorf("metadata key %q: %w", kv.Key, err)
		}
		if kv.Key == alignmentKey {
			value, ok := kv.Value.(uint32)
			if alignment = uint64(value); !ok || !validAlignment(alignment) {
				return fmt.Errorf("%s is %v, but must be a uint32 and a power of two from 1 to %d", alignmentKey, kv.Value, MaxAlignment)
			}
		}
	}
	sizes, header, err := appendTensors(header, tensors, alignment)
	if err != nil {
		return err
	}
	if err := checkHeader(header); err != nil {
		return err
	}

	out := &countingWriter{w: bufio.NewWriterSize(w, 1<<16)}
	if _, err := out.Write(header); err != nil {
		return err
	}
	if err := out.pad(alignment); err != nil {
		return err
	}
	for i, t := range tensors {
		before := out.written
		if err := t.WriteData(out); err != nil {
			return fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if got := out.written - before; got != sizes[i] {
			return fmt.Errorf("tensor %q: %d bytes of data written, %s %v has %d", t.Name, got, t.Type, t.Shape, sizes[i])
		}
		if err := out.pad(alignment); err != nil {
			return err
		}
	}
	return out.w.Flush()
}

// appendTensors appends the tensors' descriptions, one tensor's data after the other's, and returns their sizes.
func appendTensors(header []byte, tensors []TensorSource, alignment uint64) ([]uint64, []byte, error) {
	sizes := make([]uint64, len(tensors))
	offset := uint64(0)
	for i, t := range tensors {
		size, err := t.Type.Size(t.Shape)
		if err != nil {
			return nil, nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		sizes[i] = size
		header = appendString(header, t.Name)
		header = binary.LittleEndian.AppendUint32(header, uint32(len(t.Shape)))
		for _, n := range t.Shape {
			header = binary.LittleEndian.AppendUint64(header, n)
		}
		header = binary.LittleEndian.AppendUint32(header, uint32(t.Type))
		header = binary.LittleEndian.AppendUint64(header, offset)
		if offset+size < offset || offset+size > 1<<62 {
			return nil, nil, fmt.Errorf("tensor %q: the tensors' sizes overflow", t.Name)
		}
		offset = alignUp(offset+size, alignment)
	}
	return sizes, header, nil
}

// checkHeader applies the reader's rules for names, keys and values.
func checkHeader(header []byte) error {
	var f File
	c := &cursor{data: header}
	tensors, keys, err := f.parseHeader(c)
	if err == nil {
		err = f.Metadata.parse(c, keys)
	}
	if err == nil {
		err = f.parseAlignment()
	}
	if err == nil {
		err = f.parseTensors(c, tensors)
	}
	if err != nil {
		return err
	}
	return nil
}

type countingWriter struct {
	w       *bufio.Writer
	written uint64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.written += uint64(n)
	return n, err
}

func (c *countingWriter) pad(alignment uint64) error {
	_, err := c.Write(make([]byte, alignUp(c.written, alignment)-c.written))
	return err
}

func appendString(b []byte, s string) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	return append(b, s...)
}

// appendValue appends the type and the value.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return appendString(appendKind(b, KindString), v), nil
	case []string:
		b = appendArray(b, KindString, len(v))
		for _, s := range v {
			b = appendString(b, s)
		}
		return b, nil
	case bool, uint8, int8, uint16, int16, uint32, int32, uint64, int64, float32, float64:
		return binary.Append(appendKind(b, kindOf(v)), binary.LittleEndian, v)
	case []bool, []uint8, []int8, []uint16, []int16, []uint32, []int32, []uint64, []int64, []float32, []float64:
		return binary.Append(appendArray(b, kindOf(v), binary.Size(v)/int(kindOf(v).size())), binary.LittleEndian, v)
	}
	return nil, fmt.Errorf("a value of type %T cannot be written", v)
}

func appendKind(b []byte, k Kind) []byte { return binary.LittleEndian.AppendUint32(b, uint32(k)) }

func appendArray(b []byte, element Kind, count int) []byte {
	b = appendKind(appendKind(b, KindArray), element)
	return binary.LittleEndian.AppendUint64(b, uint64(count))
}

// kindOf finds the kind of a scalar or of the elements of a slice by its Go type's name.
func kindOf(v any) Kind {
	name := fmt.Sprintf("%T", v)
	if len(name) > 2 && name[:2] == "[]" {
		name = name[2:]
	}
	return Kind(slices.Index(kindNames[:], name))
}

// decoded gives the value in its Go type, an array as a slice.
func (v value) decoded() any {
	switch v.kind {
	case KindUint8:
		return decodedAs[uint8](v)
	case KindInt8:
		return decodedAs[int8](v)
	case KindUint16:
		return decodedAs[uint16](v)
	case KindInt16:
		return decodedAs[int16](v)
	case KindUint32:
		return decodedAs[uint32](v)
	case KindInt32:
		return decodedAs[int32](v)
	case KindUint64:
		return decodedAs[uint64](v)
	case KindInt64:
		return decodedAs[int64](v)
	case KindFloat32:
		return decodedAs[float32](v)
	case KindFloat64:
		return decodedAs[float64](v)
	case KindBool:
		return decodedAs[bool](v)
	}
	if v.array {
		return v.strings()
	}
	return v.strings()[0]
}

func decodedAs[T any](v value) any {
	elements := make([]T, v.count)
	_, _ = binary.Decode(v.raw, binary.LittleEndian, elements) // the size was checked when the file was parsed
	if v.array {
		return elements
	}
	return elements[0]
}
