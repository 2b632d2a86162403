package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"touchstone/native"
)

// bundledModel is the model that the repository brings along.
const bundledModel = "../../../" + defaultModel

// TestMain makes the test's own program a worker if a test started it as one.
func TestMain(m *testing.M) {
	if os.Getenv("TEST_RUNS_WORKER") != "" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// refused runs a command line that must not work, and returns its only line.
func refused(t *testing.T, wantCode int, arguments ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := Main(arguments, &stdout, &stderr); code != wantCode {
		t.Errorf("%v: exit code %d, want %d; stderr: %s", arguments, code, wantCode, &stderr)
	}
	if stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("%v: want one line on stderr, got %q and on stdout %q", arguments, &stderr, &stdout)
	}
	return stderr.String()
}

func TestBadCommandLinesNameTheFlagAndWhatIsAllowed(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct{ flag, value, allowed string }{
		{"port", "65536", "0 to 65535"}, {"port", "-1", "0 to 65535"}, {"port", "http", "0 to 65535"},
		{"host", "no host", "IP address"}, {"host", "", "IP address"},
		{"device", "warp:9", "cuda:N"}, {"device", "cuda", "cuda:N"}, {"device", "cuda:-1", "cuda:N"},
		{"worker-id", "me", "UUID"}, {"callback-url", "nowhere", "http"}, {"callback-url", "ftp://x", "http"},
		{"max-tokens-out", "-1", "0 to 16777216"}, {"max-tokens-out", "16777217", "0 to 16777216"},
		{"context", "-1", "0 to 16777216"}, {"alias", "a,,b", "names"}, {"cors-origin", "chat.example", "https://chat.example"},
		{"inference-timeout", "5", "duration"}, {"inference-timeout", "-1s", "duration"},
		{"kv-cache-bytes", "-1", "integer"}, {"kv-cache-bytes", "1GB", "integer"},
		{"max-jobs", "0", "1 to 256"}, {"queue", "-1", "0 to"}, {"threads", "x", "0 to 1024"},
		{"numerics", "exact", "canonical, fast"},
		{"log-format", "xml", "text, json"}, {"log-level", "loud", "debug, info, warn, error"},
		{"residency-interval", "0s", "duration"}, {"keep-alive", "0", "duration"}, {"model", "", "path"},
	} {
		line := refused(t, exitUsage, "serve", "--"+c.flag+"="+c.value)
		g.Expect(line).To(And(ContainSubstring("--"+c.flag), ContainSubstring(c.allowed)))
	}
	for _, c := range []struct{ flag, value, allowed string }{
		{"seed", "-1", "18446744073709551615"}, {"temperature", "2.1", "0 to 2"}, {"temperature", "NaN", "0 to 2"},
		{"top-p", "1.1", "0 to 1"}, {"min-p", "-1", "0 to 1"}, {"repetition-penalty", "0", "above 0"}, {"max-tokens", "0", "1 to 2048"},
	} {
		line := refused(t, exitUsage, "run", "x", "--"+c.flag+"="+c.value)
		g.Expect(line).To(And(ContainSubstring("--"+c.flag), ContainSubstring(c.allowed)))
	}
	for _, c := range []struct{ flag, value, allowed string }{
		{"prefill", "0", "integers from 1"}, {"prefill", "1,,2", "separated by commas"}, {"decode", "-1", "integers from 0"},
		{"decode-tokens", "0", "1 to"}, {"repeats", "x", "1 to 1000"}, {"plot", "", "path"},
	} {
		line := refused(t, exitUsage, "bench", "--"+c.flag+"="+c.value)
		g.Expect(line).To(And(ContainSubstring("--"+c.flag), ContainSubstring(c.allowed)))
	}
	g.Expect(refused(t, exitUsage, "bench", "--model", bundledModel, "--prefill", "1025")).To(ContainSubstring("1024"))
	g.Expect(refused(t, exitUsage, "nonsense")).To(ContainSubstring("serve"))
	g.Expect(refused(t, exitUsage, "serve", "--nonsense")).To(ContainSubstring("--nonsense"))
	g.Expect(refused(t, exitUsage, "serve", "extra")).To(ContainSubstring("extra"))
	g.Expect(refused(t, exitUsage, "run")).To(ContainSubstring("prompt"))
	g.Expect(refused(t, exitUsage, "run", "x", "--stop", "")).To(ContainSubstring("--stop"))
	g.Expect(refused(t, exitUsage, "serve", "--api-key-file", "/no/such/file")).To(ContainSubstring("--api-key-file"))
	t.Setenv(isaEnv, "mmx")
	g.Expect(refused(t, exitUsage, "serve", "--model", bundledModel)).To(And(ContainSubstring(isaEnv), ContainSubstring("scalar")))
}

func TestModelsAndDevicesThatCannotBeUsed(t *testing.T) {
	g := NewWithT(t)
	g.Expect(refused(t, exitFailed, "serve", "--model", "/no/such/model.gguf")).To(ContainSubstring("/no/such/model.gguf"))
	whole, err := os.ReadFile(bundledModel)
	g.Expect(err).NotTo(HaveOccurred())
	folder := t.TempDir()
	for name, content := range map[string][]byte{
		"empty.gguf": nil, "text.gguf": []byte("not a model"), "cut.gguf": whole[:len(whole)/2], "head.gguf": whole[:40],
	} {
		file := filepath.Join(folder, name)
		g.Expect(os.WriteFile(file, content, 0o600)).To(Succeed())
		g.Expect(refused(t, exitFailed, "serve", "--port=0", "--model", file)).To(ContainSubstring(name))
		g.Expect(refused(t, exitFailed, "inspect", file)).To(ContainSubstring(name))
	}
	g.Expect(refused(t, exitFailed, "run", "x", "--model", bundledModel, "--device", "cuda:0")).To(
		And(ContainSubstring("cuda:0"), ContainSubstring("--cuda-lib")), "never another device instead")
	for _, device := range []string{"cpu", "sim"} {
		g.Expect(refused(t, exitFailed, "serve", "--model", bundledModel, "--port=0", "--device", device, "--numerics", "fast")).To(
			And(ContainSubstring(device), ContainSubstring("cuBLAS"), ContainSubstring("CUDA")), "never other numerics instead")
	}
	g.Expect(refused(t, exitFailed, "run", "x", "--model", bundledModel, "--cuda-lib", "/no/such.so")).To(
		ContainSubstring("/no/such.so"), "a plugin that was asked for must be there, also with --device auto")
	g.Expect(refused(t, exitFailed, "run", "x", "--model", bundledModel, "--native-lib", bundledModel)).To(ContainSubstring("haiku.gguf"))
	g.Expect(refused(t, exitFailed, "run", "x")).To(ContainSubstring("--model"), "no bundled model in this folder")
}

func TestRunRepeatsWithASeed(t *testing.T) {
	g := NewWithT(t)
	generate := func(arguments ...string) (string, string) {
		var stdout, stderr bytes.Buffer
		arguments = append([]string{"run", "the rain", "--model", bundledModel, "--device", "cpu", "--threads", "1"}, arguments...)
		g.Expect(Main(arguments, &stdout, &stderr)).To(Equal(exitOK), stderr.String())
		return stdout.String(), stderr.String()
	}
	first, figures := generate("--seed", "7", "--temperature", "0.7")
	g.Expect(len(first)).To(BeNumerically(">", 10))
	g.Expect(figures).To(ContainSubstring("seed 7"))
	again, _ := generate("--seed", "7", "--temperature", "0.7")
	g.Expect(again).To(Equal(first))
	other, _ := generate("--seed", "8", "--temperature", "0.7")
	g.Expect(other).NotTo(Equal(first))
	_, figures = generate("--seed", "7", "--temperature", "0.7", "--max-tokens", "3")
	g.Expect(figures).To(HavePrefix("3 tokens"))
}

func TestDevicesAndInspect(t *testing.T) {
	g := NewWithT(t)
	var stdout, stderr bytes.Buffer
	g.Expect(Main([]string{"devices"}, &stdout, &stderr)).To(Equal(exitOK), stderr.String())
	g.Expect(stdout.String()).To(MatchRegexp(`(?m)^cpu +\S.*touchstone`))
	stdout.Reset()
	g.Expect(Main([]string{"inspect", bundledModel}, &stdout, &stderr)).To(Equal(exitOK), stderr.String())
	g.Expect(stdout.String()).To(And(MatchRegexp(`general\.name +"haiku"`), MatchRegexp(`token_embd\.weight +F16 +256 1024 +524288`),
		ContainSubstring("mostly F16")))
}

func TestMemoryOfTheKVCache(t *testing.T) {
	g := NewWithT(t)
	// 2 (keys, values) * 24 layers * 2 heads * 64 elements * 32 positions * 2 bytes, for 1024 blocks of a context of 32768.
	const block = 2 * 24 * 2 * 64 * 32 * 2
	description := native.ModelDescription{BlockCount: 24, HeadCountKV: 2, HeadDim: 64, ContextLength: 32768}
	const one = 1024 * block
	g.Expect(kvCacheBytes(&description, 1, 1<<40)).To(BeEquivalentTo(one))
	g.Expect(kvCacheBytes(&description, 8, 1<<40)).To(BeEquivalentTo(1<<30), "at most 1 GiB")
	g.Expect(kvCacheBytes(&description, 8, 1<<28)).To(BeEquivalentTo(1<<27), "half of what is free")
	g.Expect(kvCacheBytes(&description, 8, 0)).To(BeEquivalentTo(block), "at least a block")
	description.ContextLength *= 8
	g.Expect(kvCacheBytes(&description, 8, 1<<40)).To(BeEquivalentTo(8*one), "one context, if it is more than 1 GiB")
}
