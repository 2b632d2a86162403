package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// bytesOf makes a WriteData that writes n bytes counting up from first.
func bytesOf(n int, first byte) func(io.Writer) error {
	return func(w io.Writer) error {
		data := make([]byte, n)
		for i := range data {
			data[i] = first + byte(i)
		}
		_, err := w.Write(data)
		return err
	}
}

func sampleMetadata() []KeyValue {
	return []KeyValue{
		{"general.architecture", "llama"},
		{"u8", uint8(200)}, {"i8", int8(-3)}, {"u16", uint16(60000)}, {"i16", int16(-300)},
		{"u32", uint32(4e9)}, {"i32", int32(-70000)}, {"u64", uint64(math.MaxUint64)}, {"i64", int64(1 << 40)},
		{"f32", float32(0.5)}, {"f64", 1e-300}, {"yes", true}, {"no", false}, {"empty", ""},
		{"strings", []string{"a", "", "ünïcode", "\xff"}},
		{"ints", []int32{-1, 0, 7}}, {"bytes", []uint8{1, 2}}, {"wide", []uint64{1, math.MaxUint64}},
		{"floats", []float32{-1.5, 2}}, {"bools", []bool{true, false}}, {"nothing", []string{}},
	}
}

func sampleTensors() []TensorSource {
	return []TensorSource{
		{"norm.weight", F32, []uint64{3}, bytesOf(12, 1)},
		{"output.weight", Q8_0, []uint64{32, 2}, bytesOf(68, 50)},
		{"k.weight", Q4_K, []uint64{256, 1, 1, 1}, bytesOf(144, 7)},
	}
}

// build writes a file into memory.
func build(t testing.TB, metadata []KeyValue, tensors []TensorSource) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, metadata, tensors); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func sample(t testing.TB) []byte { return build(t, sampleMetadata(), sampleTensors()) }

func TestRoundTrip(t *testing.T) {
	f, err := Parse(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	if f.Version != 3 || f.Alignment != 32 {
		t.Errorf("version %d, alignment %d; want 3, 32", f.Version, f.Alignment)
	}
	var keys []string
	for _, kv := range sampleMetadata() {
		keys = append(keys, kv.Key)
	}
	if !slices.Equal(f.Keys(), keys) {
		t.Errorf("keys %v, want %v", f.Keys(), keys)
	}
	if got := f.KeyValues(); !reflect.DeepEqual(got, sampleMetadata()) {
		t.Errorf("key-values %v, want %v", got, sampleMetadata())
	}
	checks := []struct {
		key  string
		got  func(string) (any, error)
		want any
	}{
		{"general.architecture", anyOf(f.String), "llama"},
		{"empty", anyOf(f.String), ""},
		{"u8", anyOf(f.Uint64), uint64(200)},
		{"u16", anyOf(f.Uint64), uint64(60000)},
		{"u32", anyOf(f.Uint64), uint64(4e9)},
		{"u64", anyOf(f.Uint64), uint64(math.MaxUint64)},
		{"i64", anyOf(f.Uint64), uint64(1 << 40)},
		{"i8", anyOf(f.Float64), -3.0},
		{"i16", anyOf(f.Float64), -300.0},
		{"i32", anyOf(f.Float64), -70000.0},
		{"u64", anyOf(f.Float64), float64(math.MaxUint64)},
		{"f32", anyOf(f.Float64), 0.5},
		{"f64", anyOf(f.Float64), 1e-300},
		{"yes", anyOf(f.Bool), true},
		{"no", anyOf(f.Bool), false},
		{"strings", anyOf(f.Strings), []string{"a", "", "ünïcode", "\xff"}},
		{"nothing", anyOf(f.Strings), []string{}},
		{"ints", anyOf(f.Ints), []int64{-1, 0, 7}},
		{"bytes", anyOf(f.Ints), []int64{1, 2}},
		{"floats", anyOf(f.Floats), []float64{-1.5, 2}},
	}
	for _, c := range checks {
		got, err := c.got(c.key)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %v, %v; want %v", c.key, got, err, c.want)
		}
	}
	for i, source := range sampleTensors() {
		tensor, ok := f.Tensor(source.Name)
		if !ok || f.Tensors[i].Name != source.Name {
			t.Fatalf("tensor %d is %q, want %q", i, f.Tensors[i].Name, source.Name)
		}
		var want bytes.Buffer
		if err := source.WriteData(&want); err != nil {
			t.Fatal(err)
		}
		if tensor.Type != source.Type || !slices.Equal(tensor.Shape, source.Shape) || !bytes.Equal(tensor.Data, want.Bytes()) ||
			tensor.Bytes != uint64(want.Len()) || tensor.Offset%32 != 0 {
			t.Errorf("tensor %q differs: %v %v, %d bytes at %d", tensor.Name, tensor.Type, tensor.Shape, tensor.Bytes, tensor.Offset)
		}
	}
	if _, ok := f.Tensor("missing"); ok {
		t.Error("found a tensor that is not there")
	}
}

func anyOf[T any](get func(string) (T, error)) func(string) (any, error) {
	return func(key string) (any, error) { return get(key) }
}

func TestGettersRefuseOtherTypes(t *testing.T) {
	f, err := Parse(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	refused := []struct {
		key string
		get func(string) (any, error)
	}{
		{"u8", anyOf(f.String)}, {"strings", anyOf(f.String)}, {"i8", anyOf(f.Uint64)}, {"f32", anyOf(f.Uint64)},
		{"ints", anyOf(f.Uint64)}, {"yes", anyOf(f.Float64)}, {"empty", anyOf(f.Float64)}, {"u8", anyOf(f.Bool)},
		{"ints", anyOf(f.Strings)}, {"empty", anyOf(f.Strings)}, {"wide", anyOf(f.Ints)}, {"floats", anyOf(f.Ints)},
		{"bools", anyOf(f.Ints)}, {"strings", anyOf(f.Floats)},
	}
	for _, c := range refused {
		if _, err := c.get(c.key); !errors.Is(err, ErrWrongType) || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s: error %v, want ErrWrongType that names the key", c.key, err)
		}
	}
	if _, err := f.String("absent"); !errors.Is(err, ErrMissingKey) || !strings.Contains(err.Error(), "absent") {
		t.Errorf("error %v, want ErrMissingKey that names the key", err)
	}
}

func TestVersion2AndAlignment(t *testing.T) {
	data := build(t, []KeyValue{{alignmentKey, uint32(256)}}, sampleTensors())
	binary.LittleEndian.PutUint32(data[4:], 2)
	f, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if f.Version != 2 || f.Alignment != 256 || f.Tensors[2].Offset%256 != 0 || f.Tensors[2].Data[0] != 7 {
		t.Errorf("version %d, alignment %d, third tensor at %d", f.Version, f.Alignment, f.Tensors[2].Offset)
	}
}

func TestOpenAndClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := os.WriteFile(path, sample(t), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	name, err := f.String("general.architecture")
	if err != nil || name != "llama" || f.Tensors[1].Data[0] != 50 {
		t.Errorf("architecture %q, %v; first byte %d", name, err, f.Tensors[1].Data[0])
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	if _, err := f.String("general.architecture"); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v after Close, want ErrClosed", err)
	}
	if f.Tensors[1].Data != nil {
		t.Error("a tensor keeps its data after Close")
	}
	if name != "llama" {
		t.Error("a string that was read changed when the file was closed")
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path string
		code Code
	}{
		{filepath.Join(dir, "absent.gguf"), CodeOpen},
		{dir, CodeOpen},
		{write("empty.gguf", ""), CodeTruncated},
		{write("text.gguf", "version https://git-lfs.github.com/spec/v1\n"), CodeMagic},
		{write("short.gguf", "GGUF\x03"), CodeTruncated},
	} {
		_, err := Open(c.path)
		var e *Error
		if !errors.As(err, &e) || e.Code != c.code || e.Path != c.path {
			t.Errorf("%s: error %v, want code %s with the path", c.path, err, c.code)
		}
	}
	if _, err := Open(filepath.Join(dir, "absent.gguf")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v hides its cause", err)
	}
}

// The vocabularies of real models, where the test data are.
func TestRealVocabularies(t *testing.T) {
	paths := realFiles(t)
	if len(paths) == 0 {
		t.Skip("no real vocabularies: TOUCHSTONE_SHARED or ../shared does not hold data/tokenizers/*.gguf")
	}
	for _, path := range paths {
		f, err := Open(path)
		if err != nil {
			t.Error(err)
			continue
		}
		tokens, err := f.Strings("tokenizer.ggml.tokens")
		if err != nil || len(tokens) < 30000 {
			t.Errorf("%s: %d tokens, %v", path, len(tokens), err)
		}
		types, err := f.Ints("tokenizer.ggml.token_type")
		if err != nil || len(types) != len(tokens) {
			t.Errorf("%s: %d token types for %d tokens, %v", path, len(types), len(tokens), err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func realFiles(t testing.TB) []string {
	t.Helper()
	shared := os.Getenv("TOUCHSTONE_SHARED")
	if shared == "" {
		shared = filepath.Join("..", "..", "..", "shared")
	}
	paths, err := filepath.Glob(filepath.Join(shared, "data", "tokenizers", "*.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
