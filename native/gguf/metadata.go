package gguf

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// Kind is the type of a metadata value; the values are those of the format.
type Kind uint32

// The kinds.
const (
	KindUint8 Kind = iota
	KindInt8
	KindUint16
	KindInt16
	KindUint32
	KindInt32
	KindFloat32
	KindBool
	KindString
	KindArray
	KindUint64
	KindInt64
	KindFloat64
)

var kindNames = [...]string{"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool", "string", "array", "uint64", "int64", "float64"}

// String gives the kind's name, e.g. "uint32".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// size gives the bytes of a scalar of the kind, 0 for strings, arrays and unknown kinds.
func (k Kind) size() uint64 {
	switch k {
	case KindUint8, KindInt8, KindBool:
		return 1
	case KindUint16, KindInt16:
		return 2
	case KindUint32, KindInt32, KindFloat32:
		return 4
	case KindUint64, KindInt64, KindFloat64:
		return 8
	}
	return 0
}

func (k Kind) integer() bool {
	return k.size() > 0 && k != KindBool && !k.float()
}

func (k Kind) float() bool { return k == KindFloat32 || k == KindFloat64 }

// value is a checked value, still encoded: values are decoded when they are asked for.
type value struct {
	kind  Kind // of the value, or of the array's elements
	array bool
	count uint64 // elements of an array, 1 otherwise
	raw   []byte // the elements
	at    uint64 // offset in the file
}

func (v value) String() string {
	if v.array {
		return "array of " + v.kind.String()
	}
	return v.kind.String()
}

// Metadata is the key-value section of a file. Getters return an *Error that wraps ErrMissingKey, ErrWrongType or, after
// File.Close, ErrClosed, and names the key. What they return stays valid after File.Close.
type Metadata struct {
	keys   []string
	values map[string]value
	closed bool
}

func (m *Metadata) parse(c *cursor, count uint64) *Error {
	m.keys = make([]string, 0, count)
	m.values = make(map[string]value, count)
	for range count {
		start := c.at
		raw, err := c.str("metadata key", MaxKeyBytes)
		if err != nil {
			return err
		}
		if !validName(raw) {
			return c.fail(CodeMetadata, start, "a metadata key is %q; keys are non-empty UTF-8 without NUL; the file is damaged", clip(raw))
		}
		key := string(raw)
		if _, ok := m.values[key]; ok {
			return c.fail(CodeMetadata, start, "metadata key %q appears twice; convert the model again", clip(raw))
		}
		v, err := parseValue(c, string(clip(raw)))
		if err != nil {
			return err
		}
		m.keys = append(m.keys, key)
		m.values[key] = v
	}
	return nil
}

// clip shortens what an error message quotes.
func clip(raw []byte) []byte { return raw[:min(len(raw), 64)] }

func parseValue(c *cursor, key string) (value, *Error) {
	start := c.at
	number, err := c.uint32("type of " + key)
	if err != nil {
		return value{}, err
	}
	v := value{kind: Kind(number), count: 1}
	if v.kind == KindArray {
		v.array = true
		if number, err = c.uint32("element type of " + key); err != nil {
			return v, err
		}
		v.kind = Kind(number)
		if v.count, err = c.uint64("array length of " + key); err != nil {
			return v, err
		}
		if v.kind == KindArray {
			return v, c.fail(CodeMetadata, start, "%s is an array of arrays, which no model needs; convert the model again", key)
		}
	}
	v.at = c.at
	if v.kind == KindString {
		return v, v.parseStrings(c, key)
	}
	size := v.kind.size()
	if size == 0 {
		return v, c.fail(CodeMetadata, start, "%s has the unknown value type %d; the file is damaged", key, number)
	}
	if v.count > c.left()/size {
		return v, c.fail(CodeTruncated, v.at, "%s claims %d elements of %d bytes, %d bytes are left; copy or download the file again", key, v.count, size, c.left())
	}
	if v.raw, err = c.take(v.count*size, key); err != nil {
		return v, err
	}
	if v.kind == KindBool {
		if i := slices.IndexFunc(v.raw, func(b byte) bool { return b > 1 }); i >= 0 {
			return v, c.fail(CodeMetadata, v.at+uint64(i), "%s holds %d where a bool is 0 or 1; the file is damaged", key, v.raw[i])
		}
	}
	return v, nil
}

func (v *value) parseStrings(c *cursor, key string) *Error {
	if v.count > c.left()/8 {
		return c.fail(CodeTruncated, v.at, "%s claims %d strings, %d bytes are left; copy or download the file again", key, v.count, c.left())
	}
	what := "a string in " + key
	for range v.count {
		n, err := c.uint64(what)
		if err != nil {
			return err
		}
		if _, err := c.take(n, what); err != nil {
			return err
		}
	}
	v.raw = c.data[v.at:c.at]
	return nil
}

func (m *Metadata) close() {
	m.keys, m.values, m.closed = nil, nil, true
}

// Keys lists the keys in file order.
func (m *Metadata) Keys() []string { return slices.Clone(m.keys) }

// Has tells whether there is such a key.
func (m *Metadata) Has(key string) bool {
	_, ok := m.values[key]
	return ok
}

// Kind gives the type of a value and its number of elements (1 if it is no array).
func (m *Metadata) Kind(key string) (kind Kind, array bool, count uint64, err error) {
	v, err := m.get(key, "", func(value) bool { return true })
	return v.kind, v.array, v.count, err
}

// String gets a string.
func (m *Metadata) String(key string) (string, error) {
	v, err := m.get(key, "string", func(v value) bool { return !v.array && v.kind == KindString })
	if err != nil {
		return "", err
	}
	return v.strings()[0], nil
}

// Uint64 gets an integer of any width that is not negative.
func (m *Metadata) Uint64(key string) (uint64, error) {
	v, err := m.get(key, "integer that is not negative", func(v value) bool {
		return !v.array && v.kind.integer() && (v.kind == KindUint64 || v.int(0) >= 0)
	})
	if err != nil {
		return 0, err
	}
	return uint64(v.int(0)), nil
}

// Float64 gets a number of any width, integers included.
func (m *Metadata) Float64(key string) (float64, error) {
	v, err := m.get(key, "number", func(v value) bool { return !v.array && (v.kind.float() || v.kind.integer()) })
	if err != nil {
		return 0, err
	}
	return v.float(0), nil
}

// Bool gets a bool.
func (m *Metadata) Bool(key string) (bool, error) {
	v, err := m.get(key, "bool", func(v value) bool { return !v.array && v.kind == KindBool })
	if err != nil {
		return false, err
	}
	return v.raw[0] == 1, nil
}

// Strings gets an array of strings.
func (m *Metadata) Strings(key string) ([]string, error) {
	v, err := m.get(key, "array of strings", func(v value) bool { return v.array && v.kind == KindString })
	if err != nil {
		return nil, err
	}
	return v.strings(), nil
}

// Ints gets an array of integers of any width up to 63 bits.
func (m *Metadata) Ints(key string) ([]int64, error) {
	v, err := m.get(key, "array of integers below 2^63", func(v value) bool {
		if !v.array || !v.kind.integer() {
			return false
		}
		for i := range v.count {
			if v.kind == KindUint64 && v.int(i) < 0 {
				return false
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	out := make([]int64, v.count)
	for i := range out {
		out[i] = v.int(uint64(i))
	}
	return out, nil
}

// Floats gets an array of numbers of any width.
func (m *Metadata) Floats(key string) ([]float64, error) {
	v, err := m.get(key, "array of numbers", func(v value) bool { return v.array && (v.kind.float() || v.kind.integer()) })
	if err != nil {
		return nil, err
	}
	out := make([]float64, v.count)
	for i := range out {
		out[i] = v.float(uint64(i))
	}
	return out, nil
}

func (m *Metadata) get(key, wanted string, fits func(value) bool) (value, error) {
	if m.closed {
		return value{}, &Error{Code: CodeClosed, Offset: -1, Message: fmt.Sprintf("metadata key %q", key), Err: ErrClosed}
	}
	v, ok := m.values[key]
	if !ok {
		return v, &Error{Code: CodeMissingKey, Offset: -1, Message: fmt.Sprintf("the model file lacks %q; convert the model again", key), Err: ErrMissingKey}
	}
	if !fits(v) {
		return v, &Error{Code: CodeWrongType, Offset: int64(v.at), Message: fmt.Sprintf("%q is %s, but must be %s; convert the model again", key, v, wanted), Err: ErrWrongType}
	}
	return v, nil
}

// int decodes element i of integers; a uint64 keeps its bits.
func (v value) int(i uint64) int64 {
	b := v.raw[i*v.kind.size():]
	switch v.kind {
	case KindUint8:
		return int64(b[0])
	case KindInt8:
		return int64(int8(b[0]))
	case KindUint16:
		return int64(binary.LittleEndian.Uint16(b))
	case KindInt16:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case KindUint32:
		return int64(binary.LittleEndian.Uint32(b))
	case KindInt32:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	default:
		return int64(binary.LittleEndian.Uint64(b))
	}
}

// float decodes element i of numbers.
func (v value) float(i uint64) float64 {
	b := v.raw[i*v.kind.size():]
	switch v.kind {
	case KindFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	case KindFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	case KindUint64:
		return float64(uint64(v.int(i)))
	default:
		return float64(v.int(i))
	}
}

// strings decodes all strings; their lengths were checked when the file was parsed.
func (v value) strings() []string {
	out := make([]string, v.count)
	raw := v.raw
	for i := range out {
		n := binary.LittleEndian.Uint64(raw)
		out[i] = string(raw[8 : 8+n])
		raw = raw[8+n:]
	}
	return out
}
