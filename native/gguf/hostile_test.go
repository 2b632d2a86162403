package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
	"testing"
)

// raw builds a file by hand, for what the writer refuses to write.
type raw struct{ bytes.Buffer }

func (r *raw) u32(v uint32) *raw { r.Write(binary.LittleEndian.AppendUint32(nil, v)); return r }
func (r *raw) u64(v uint64) *raw { r.Write(binary.LittleEndian.AppendUint64(nil, v)); return r }
func (r *raw) str(s string) *raw { r.u64(uint64(len(s))); r.WriteString(s); return r }
func (r *raw) zeros(n int) *raw  { r.Write(make([]byte, n)); return r }

func header(tensors, keys uint64) *raw {
	r := &raw{}
	r.WriteString("GGUF")
	return r.u32(3).u64(tensors).u64(keys)
}

// tensor appends a description of an F32 tensor.
func (r *raw) tensor(name string, offset uint64, shape ...uint64) *raw {
	r.str(name).u32(uint32(len(shape)))
	for _, n := range shape {
		r.u64(n)
	}
	return r.u32(uint32(F32)).u64(offset)
}

func TestHostileFiles(t *testing.T) {
	hugeString := header(0, 1).str("key").u32(uint32(KindString)).u64(math.MaxUint64).zeros(64)
	cases := []struct {
		name string
		data []byte
		code Code
		text string
	}{
		{"nothing", nil, CodeTruncated, "ends in its header"},
		{"other format", []byte("PK\x03\x04 and more"), CodeMagic, "not a GGUF file"},
		{"big-endian version", append([]byte("GGUF\x00\x00\x00\x03"), make([]byte, 16)...), CodeByteOrder, "big-endian"},
		{"big-endian magic", append([]byte("FUGG"), make([]byte, 20)...), CodeByteOrder, "big-endian"},
		{"version 1", append([]byte("GGUF\x01\x00\x00\x00"), make([]byte, 16)...), CodeVersion, "version 1"},
		{"version 99", append([]byte("GGUF\x63\x00\x00\x00"), make([]byte, 16)...), CodeVersion, "version 99"},
		{"a million tensors", header(1e6, 0).zeros(1000).Bytes(), CodeTensor, "1000000 tensors"},
		{"2^64-1 keys", header(0, math.MaxUint64).Bytes(), CodeMetadata, "metadata keys"},
		{"counts that the file cannot hold", header(60000, 60000).zeros(1000).Bytes(), CodeTruncated, "60000 tensors"},
		{"key longer than the file", header(0, 1).u64(60000).zeros(64).Bytes(), CodeTruncated, "metadata key"},
		{"key of 2^63 bytes", header(0, 1).u64(1 << 63).zeros(64).Bytes(), CodeMetadata, "metadata key claims"},
		{"empty key", header(0, 1).str("").u32(0).zeros(64).Bytes(), CodeMetadata, "non-empty"},
		{"NUL in a key", header(0, 1).str("a\x00b").u32(0).zeros(64).Bytes(), CodeMetadata, "without NUL"},
		{"NUL in a tensor's name", header(1, 0).tensor("a\x00b", 0, 1).zeros(64).Bytes(), CodeTensor, "without NUL"},
		{"duplicate key", header(0, 2).str("key").u32(0).zeros(1).str("key").u32(0).zeros(64).Bytes(), CodeMetadata, `"key" appears twice`},
		{"unknown value type", header(0, 1).str("key").u32(13).zeros(64).Bytes(), CodeMetadata, "unknown value type 13"},
		{"string of 2^64-1 bytes", hugeString.Bytes(), CodeTruncated, "a string in key"},
		{"array of 2^64-1 strings", header(0, 1).str("key").u32(9).u32(8).u64(math.MaxUint64).zeros(64).Bytes(), CodeTruncated, "strings"},
		{"array of 2^63 numbers", header(0, 1).str("key").u32(9).u32(10).u64(1 << 63).zeros(64).Bytes(), CodeTruncated, "elements of 8 bytes"},
		{"array of arrays", header(0, 1).str("key").u32(9).u32(9).u64(1).zeros(64).Bytes(), CodeMetadata, "array of arrays"},
		{"array of unknown type", header(0, 1).str("key").u32(9).u32(77).u64(1).zeros(64).Bytes(), CodeMetadata, "unknown value type 77"},
		{"bool of 2", append(header(0, 1).str("key").u32(7).Bytes(), 2, 0, 0, 0), CodeMetadata, "bool"},
		{"alignment 0", header(0, 1).str(alignmentKey).u32(4).u32(0).Bytes(), CodeMetadata, "power of two"},
		{"alignment 48", header(0, 1).str(alignmentKey).u32(4).u32(48).Bytes(), CodeMetadata, "power of two"},
		{"alignment 2^31", header(0, 1).str(alignmentKey).u32(4).u32(1 << 31).Bytes(), CodeMetadata, "power of two"},
		{"alignment text", header(0, 1).str(alignmentKey).u32(8).str("32").Bytes(), CodeMetadata, "power of two"},
		{"tensor without name", header(1, 0).tensor("", 0, 1).zeros(64).Bytes(), CodeTensor, "name"},
		{"tensor name too long", header(1, 0).tensor(strings.Repeat("n", 65), 0, 1).zeros(64).Bytes(), CodeMetadata, "tensor name claims 65"},
		{"no dimension", header(1, 0).tensor("t", 0).zeros(64).Bytes(), CodeTensor, "0 dimensions"},
		{"five dimensions", header(1, 0).tensor("t", 0, 1, 1, 1, 1, 1).zeros(64).Bytes(), CodeTensor, "5 dimensions"},
		{"2^32-1 dimensions", header(1, 0).str("t").u32(math.MaxUint32).zeros(64).Bytes(), CodeTensor, "dimensions"},
		{"dimension 0", header(1, 0).tensor("t", 0, 4, 0).zeros(64).Bytes(), CodeTensor, "dimension of 0"},
		{"elements overflow", header(1, 0).tensor("t", 0, 1<<32, 1<<32).zeros(64).Bytes(), CodeTensor, "overflows"},
		{"bytes overflow", header(1, 0).tensor("t", 0, 1<<62).zeros(64).Bytes(), CodeTensor, "overflows"},
		{"2^63 bytes", header(1, 0).tensor("t", 0, 1<<61).zeros(64).Bytes(), CodeTensor, "overflows"},
		{"offset overflows", header(1, 0).tensor("t", math.MaxUint64-31, 8).zeros(64).Bytes(), CodeTensor, "overflow"},
		{"offset beyond the file", header(1, 0).tensor("t", 1<<40, 8).zeros(64).Bytes(), CodeTruncated, "the file ends"},
		{"data cut off", header(1, 0).tensor("t", 0, 64).zeros(64).Bytes(), CodeTruncated, `tensor "t"`},
		{"misaligned", header(1, 0).tensor("t", 8, 4).zeros(128).Bytes(), CodeTensor, "multiple of the alignment"},
		{"duplicate tensor", header(2, 0).tensor("t", 0, 4).tensor("t", 32, 4).zeros(128).Bytes(), CodeTensor, "appears twice"},
		{"overlap", header(2, 0).tensor("a", 32, 4).tensor("b", 0, 9).zeros(128).Bytes(), CodeTensor, `"b" and "a" overlap`},
		{"same place", header(2, 0).tensor("a", 0, 4).tensor("b", 0, 4).zeros(128).Bytes(), CodeTensor, "overlap"},
		{"rows that are not whole blocks", header(1, 0).str("t").u32(1).u64(33).u32(uint32(Q8_0)).u64(0).zeros(128).Bytes(), CodeTensor, "blocks of 32"},
		{"known type that is not supported", header(1, 0).str("t").u32(1).u64(256).u32(10).u64(0).zeros(128).Bytes(), CodeUnsupportedType, `tensor "t": Q2_K`},
		{"unknown type", header(1, 0).str("t").u32(1).u64(256).u32(4711).u64(0).zeros(128).Bytes(), CodeUnsupportedType, "type 4711"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before := allocated()
			_, err := Parse(c.data)
			spent := allocated() - before
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v, want an *Error", err)
			}
			if e.Code != c.code || !strings.Contains(e.Error(), c.text) {
				t.Errorf("%s: %v; want %s with %q", e.Code, e, c.code, c.text)
			}
			if e.Offset < 0 || e.Offset > int64(len(c.data)) {
				t.Errorf("the error is at byte %d of %d", e.Offset, len(c.data))
			}
			if spent > 1<<20 {
				t.Errorf("%d bytes allocated for a file of %d", spent, len(c.data))
			}
		})
	}
}

// allocated gives the bytes allocated since the program started.
func allocated() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.TotalAlloc
}

func TestTruncationAtEveryByte(t *testing.T) {
	data := sample(t)
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	last := f.Tensors[len(f.Tensors)-1]
	end := int(last.Offset + last.Bytes) // what follows is padding
	for n := range end {
		_, err := Parse(data[:n])
		var e *Error
		if !errors.As(err, &e) || e.Code != CodeTruncated {
			t.Fatalf("cut to %d of %d bytes: error %v, want %s", n, len(data), err, CodeTruncated)
		}
	}
	if _, err := Parse(data[:end]); err != nil {
		t.Errorf("without the padding at the end: %v", err)
	}
}

// A flipped bit gives an error or a file whose tensors still lie inside it; nothing else.
func TestEveryBitFlip(t *testing.T) {
	data := sample(t)
	for bit := range len(data) * 8 {
		flipped := bytes.Clone(data)
		flipped[bit/8] ^= 1 << (bit % 8)
		exercise(t, flipped)
	}
}

// exercise parses data and, if that succeeds, reads everything and checks what the package promises.
func exercise(t *testing.T, data []byte) {
	f, err := Parse(data)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Message == "" || e.Offset > int64(len(data)) {
			t.Fatalf("error %#v is not a good *Error", err)
		}
		return
	}
	for _, key := range f.Keys() {
		_, array, count, err := f.Kind(key)
		if err != nil || (!array && count != 1) || count > uint64(len(data)) {
			t.Fatalf("key %q: array %v of %d, %v", key, array, count, err)
		}
		for _, get := range []func(string) (any, error){anyOf(f.String), anyOf(f.Uint64), anyOf(f.Float64), anyOf(f.Bool), anyOf(f.Strings), anyOf(f.Ints), anyOf(f.Floats)} {
			if _, err := get(key); err != nil && !errors.Is(err, ErrWrongType) {
				t.Fatalf("key %q: %v", key, err)
			}
		}
	}
	taken := make([]bool, len(data))
	for _, tensor := range f.Tensors {
		size, err := tensor.Type.Size(tensor.Shape)
		if err != nil || size != tensor.Bytes || uint64(len(tensor.Data)) != size {
			t.Fatalf("tensor %q has %d bytes of data, its shape says %d, %v", tensor.Name, len(tensor.Data), size, err)
		}
		for i := range tensor.Data {
			at := tensor.Offset + uint64(i)
			if taken[at] {
				t.Fatalf("byte %d belongs to two tensors", at)
			}
			taken[at] = true
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	none := func(io.Writer) error { return nil }
	cases := []struct {
		name     string
		metadata []KeyValue
		tensors  []TensorSource
		text     string
	}{
		{"a value type", []KeyValue{{"key", 1}}, nil, "type int"},
		{"an array of arrays", []KeyValue{{"key", [][]string{}}}, nil, "[][]string"},
		{"duplicate keys", []KeyValue{{"key", true}, {"key", true}}, nil, "appears twice"},
		{"an alignment", []KeyValue{{alignmentKey, uint32(3)}}, nil, "power of two"},
		{"an alignment's type", []KeyValue{{alignmentKey, uint64(64)}}, nil, "power of two"},
		{"duplicate tensors", nil, []TensorSource{{"t", F32, []uint64{1}, none}, {"t", F32, []uint64{1}, none}}, "appears twice"},
		{"an unsupported type", nil, []TensorSource{{"t", 10, []uint64{256}, none}}, "Q2_K"},
		{"a long name", nil, []TensorSource{{strings.Repeat("n", 65), F32, []uint64{1}, none}}, "at most 64"},
	}
	for _, c := range cases {
		var out bytes.Buffer
		err := Write(&out, c.metadata, c.tensors)
		if err == nil || !strings.Contains(err.Error(), c.text) || out.Len() > 0 {
			t.Errorf("%s: error %v with %d bytes written, want %q and none", c.name, err, out.Len(), c.text)
		}
	}
	short := []TensorSource{{"t", F32, []uint64{4}, bytesOf(15, 0)}}
	if err := Write(io.Discard, nil, short); err == nil || !strings.Contains(err.Error(), "15 bytes") {
		t.Errorf("short data: error %v, want both sizes", err)
	}
	full := errors.New("disk full")
	failing := []TensorSource{{"t", F32, []uint64{4}, func(io.Writer) error { return full }}}
	if err := Write(io.Discard, nil, failing); !errors.Is(err, full) || !strings.Contains(err.Error(), `"t"`) {
		t.Errorf("error %v, want the callback's with the tensor's name", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample(f))
	f.Add(build(f, nil, nil))
	f.Add(build(f, []KeyValue{{alignmentKey, uint32(1)}}, sampleTensors()))
	f.Add(header(2, 0).tensor("a", 32, 4).tensor("b", 0, 9).zeros(128).Bytes())
	for _, path := range realFiles(f) {
		addBeginning(f, path)
	}
	f.Fuzz(func(t *testing.T, data []byte) { exercise(t, data) })
}

// addBeginning adds the first 64 KiB of a real file: its keys as converters write them.
func addBeginning(f *testing.F, path string) {
	f.Helper()
	file, err := os.Open(path)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, 1<<16))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
}
