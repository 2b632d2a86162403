package simtest

import (
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const (
	codeOutOfMemory  = 3
	codeLaunchFailed = 4
)

func TestPlantedErrorsAreReported(t *testing.T) {
	cases := []struct {
		name, kind    string
		block, thread [3]int
		text          string
	}{
		{"divergent barrier", "divergent barrier", [3]int{}, [3]int{}, "but thread (40,0,0) waits at planted.cc:"},
		{"exit before barrier", "divergent barrier", [3]int{2}, [3]int{}, "but thread (17,0,0) has exited"},
		{"fewer barriers in a loop", "divergent barrier", [3]int{}, [3]int{}, "but thread (5,0,0) has exited"},
		{"shuffle names exited lane", "mask names exited lane", [3]int{}, [3]int{32}, "__shfl_xor_sync with mask 0xffffffff names lane 1, whose thread (33,0,0) has exited"},
		{"shuffle names missing lane", "mask names exited lane", [3]int{}, [3]int{32}, "names lane 8, which the block of 40 threads does not have"},
		{"vote names absent lane", "mask names absent lane", [3]int{}, [3]int{}, "names lane 9, whose thread (9,0,0) waits in __syncthreads at planted.cc:"},
		{"divergent warp operations", "mask names absent lane", [3]int{}, [3]int{}, "names lane 16, whose thread (16,0,0) waits in a vote at planted.cc:"},
		{"mask omits caller", "mask omits caller", [3]int{}, [3]int{4}, "mask 0x0000000f, which does not name the calling lane 4"},
		{"shuffle reads outside mask", "mask names absent lane", [3]int{}, [3]int{}, "reads lane 8, which its mask 0x000000ff does not name"},
		{"spin", "deadlock", [3]int{}, [3]int{3}, "spins on an atomic"},
		{"too much shared", "shared memory exceeded", [3]int{}, [3]int{-1}, "88000 bytes of shared memory"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(20) {
				got, line := RunPlanted(c.name, seed)
				if got.Code != codeLaunchFailed || got.Kind != c.kind || !strings.Contains(got.Status, c.text) {
					t.Fatalf("seed %d: code %d, kind %q, status %q; want kind %q and %q", seed, got.Code, got.Kind, got.Status, c.kind, c.text)
				}
				if got.Block != c.block || (c.thread[0] >= 0 && got.Thread != c.thread) {
					t.Fatalf("seed %d: block %v thread %v, want %v %v: %s", seed, got.Block, got.Thread, c.block, c.thread, got.Status)
				}
				if filepath.Base(got.File) != "planted.cc" || got.Line != line || line == 0 {
					t.Fatalf("seed %d: %s:%d, want planted.cc:%d", seed, got.File, got.Line, line)
				}
			}
		})
	}
}

// Under AddressSanitizer the process ends at the overrun, so it runs in a child.
func TestSharedOverrunIsReported(t *testing.T) {
	const child = "SIMTEST_OVERRUN"
	if Sanitized() && os.Getenv(child) == "" {
		command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		command.Env = append(os.Environ(), child+"=1")
		output, err := command.CombinedOutput()
		if err == nil || !strings.Contains(string(output), "ERROR: AddressSanitizer: use-after-poison") || !strings.Contains(string(output), "SharedOverrun") {
			t.Fatalf("AddressSanitizer did not name the overrun (%v):\n%s", err, output)
		}
		return
	}
	got, _ := RunPlanted("shared overrun", 1)
	if got.Code != codeLaunchFailed || got.Kind != "shared memory overrun" || !strings.Contains(got.Status, "shared array of 120 bytes") {
		t.Errorf("code %d, kind %q, status %q", got.Code, got.Kind, got.Status)
	}
}

func TestLaunchesOutsideTheLimitsAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"block too large":         "a block of (1025,1,1) threads",
		"empty grid":              "a grid of (0,1,1) blocks",
		"too much dynamic shared": "70000 bytes of shared memory; at most 65536",
	} {
		got, _ := RunPlanted(name, 1)
		if got.Code != codeLaunchFailed || got.Kind != "none" || !strings.Contains(got.Status, text) {
			t.Errorf("%s: code %d, kind %q, status %q; want %q", name, got.Code, got.Kind, got.Status, text)
		}
	}
}

func TestAlgorithmsEqualAPlainLoopForEveryOrder(t *testing.T) {
	for _, name := range []string{"reduce", "scan", "transpose", "count"} {
		for seed := range uint64(100) {
			if difference, _, result := RunAlgorithm(name, seed, seed); difference != -1 {
				t.Fatalf("%s, seed %d: first difference at element %d; %s", name, seed, difference, result.Status)
			}
		}
	}
}

func TestOrderFollowsTheSeed(t *testing.T) {
	seen := map[uint64]bool{}
	for seed := range uint64(20) {
		_, first, _ := RunAlgorithm("last writer", 1, seed)
		_, again, _ := RunAlgorithm("last writer", 1, seed)
		if first != again {
			t.Fatalf("seed %d gave two orders", seed)
		}
		seen[first] = true
	}
	if len(seen) < 15 {
		t.Fatalf("20 seeds gave only %d different last writers", len(seen))
	}
}

func TestFreshMemoryIsPoisoned(t *testing.T) {
	if element, _, result := RunAlgorithm("uninitialised", 1, 1); element != -1 {
		t.Fatalf("element %d (device memory 0-31, shared 32-63) is not NaN; %s", element, result.Status)
	}
}

func TestMemory(t *testing.T) {
	if wrong := Memory(); wrong != "" {
		t.Fatal(wrong)
	}
}

func TestGuardModeRefusesHostAccess(t *testing.T) {
	if got := HostCanRead(false); got != 1 {
		t.Errorf("without guard: %d, want 1 (readable)", got)
	}
	if got := HostCanRead(true); got != 0 {
		t.Errorf("with guard: %d, want 0 (refused)", got)
	}
}

func TestFailureInjection(t *testing.T) {
	for n := 1; n <= 4; n++ {
		live, code, text := FailAllocation(n)
		if live != 0 || code != codeOutOfMemory || !strings.Contains(text, "1000 bytes required") {
			t.Errorf("failing allocation %d: %d blocks live, code %d, %q", n, live, code, text)
		}
	}
	if live, code, text := FailAllocation(5); live != 0 || code != 0 {
		t.Errorf("no failure: %d blocks live, code %d, %q", live, code, text)
	}
}

// formats are the ts_dtype of all weight formats.
var formats = []int{0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 30}

// What cuBLAS is given and what is done with its products; the product itself is the test's.
func TestFastNumericsAroundTheirLibrary(t *testing.T) {
	for _, dtype := range formats {
		for seed := range uint64(12) {
			if problem := Unpack(dtype, seed); problem != "" {
				t.Errorf("unpack format %d, seed %d: %s", dtype, seed, problem)
			}
			if problem := FastLinear(dtype, seed); problem != "" {
				t.Errorf("linear, format %d, seed %d: %s", dtype, seed, problem)
			}
		}
	}
	if problem := FastBackend(); problem != "" {
		t.Error(problem)
	}
}

func TestDevicesOnSeveralHostThreads(t *testing.T) {
	var group sync.WaitGroup
	for worker := range uint64(8) {
		group.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			for seed := range uint64(20) {
				if difference, _, result := RunAlgorithm("scan", worker, seed); difference != -1 {
					t.Errorf("worker %d, seed %d: element %d; %s", worker, seed, difference, result.Status)
				}
			}
		})
	}
	group.Wait()
}

func TestHalfConversions(t *testing.T) {
	for bits := range uint32(1 << 16) {
		sign, exponent, mantissa := bits>>15, bits>>10&31, bits&1023
		var want float64
		switch {
		case exponent == 31 && mantissa != 0:
			want = math.NaN()
		case exponent == 31:
			want = math.Inf(1)
		case exponent == 0:
			want = math.Ldexp(float64(mantissa), -24)
		default:
			want = math.Ldexp(float64(1024+mantissa), int(exponent)-25)
		}
		if sign == 1 {
			want = -want
		}
		got := Math("half2float", bits, 0, 0)
		if math.IsNaN(want) {
			if got>>31 != sign || got&0x7fc00000 != 0x7fc00000 || got>>13&0x1ff != mantissa&0x1ff {
				t.Fatalf("half %04x: %08x is not its quiet NaN", bits, got)
			}
			continue
		}
		if got != math.Float32bits(float32(want)) {
			t.Fatalf("half %04x: %08x, want %08x", bits, got, math.Float32bits(float32(want)))
		}
		if back := Math("float2half", got, 0, 0); back != bits {
			t.Fatalf("half %04x came back as %04x", bits, back)
		}
		// The midpoint to the next half goes to the even one; the floats beside it go to the nearer one.
		var next float64
		if bits&0x7fff < 0x7c00 {
			if bits&0x7fff == 0x7bff {
				next = math.Copysign(65536, want)
			} else {
				next = float64(math.Float32frombits(Math("half2float", bits+1, 0, 0)))
			}
			middle := math.Float32bits(float32((want + next) / 2))
			even := bits + bits&1
			for offset, wantHalf := range map[int]uint32{-1: bits, 0: even, 1: bits + 1} {
				if back := Math("float2half", uint32(int(middle)+offset), 0, 0); back != wantHalf {
					t.Fatalf("float %08x: half %04x, want %04x", int(middle)+offset, back, wantHalf)
				}
			}
		}
	}
}

func TestArithmeticIsIEEE(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		a, b, c := random.Uint32(), random.Uint32(), random.Uint32()
		x, y, z := math.Float32frombits(a), math.Float32frombits(b), math.Float32frombits(c)
		for name, want := range map[string]float32{
			"fma":               fma32(x, y, z),
			"multiply then add": float32(x*y) + z,
			"divide":            x / y,
			"sqrt":              float32(math.Sqrt(float64(x))),
		} {
			got := Math(name, a, b, c)
			if got != math.Float32bits(want) && !(want != want && math.Float32frombits(got) != math.Float32frombits(got)) {
				t.Fatalf("%s(%08x, %08x, %08x) = %08x, want %08x", name, a, b, c, got, math.Float32bits(want))
			}
		}
		dot := int32(c)
		for i := range 4 {
			dot += int32(int8(a>>(8*i))) * int32(int8(b>>(8*i)))
		}
		if got := Math("dp4a", a, b, c); got != uint32(dot) {
			t.Fatalf("dp4a(%08x, %08x, %08x) = %08x, want %08x", a, b, c, got, uint32(dot))
		}
	}
}

// fma32 rounds once: the product is exact in float64, and rounding the sum to odd makes the second rounding harmless
// (Boldo and Melquiond 2008).
func fma32(x, y, z float32) float32 {
	product, addend := float64(x)*float64(y), float64(z)
	sum := product + addend
	if math.IsNaN(sum) || math.IsInf(sum, 0) {
		return float32(sum)
	}
	virtual := sum - product
	residue := (product - (sum - virtual)) + (addend - virtual) // exact error of the sum (Knuth)
	if bits := math.Float64bits(sum); residue != 0 && bits&1 == 0 {
		if (residue > 0) == (sum > 0) {
			bits++
		} else {
			bits--
		}
		sum = math.Float64frombits(bits)
	}
	return float32(sum)
}

func BenchmarkThreadWithoutBarrier(b *testing.B) { benchmarkThread(b, 0) }
func BenchmarkThreadWithOneBarrier(b *testing.B) { benchmarkThread(b, 1) }

func benchmarkThread(b *testing.B, barriers int) {
	for b.Loop() {
		b.ReportMetric(NanosecondsPerThread(barriers, 256, 256), "ns/thread")
	}
}
