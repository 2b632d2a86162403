package command

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"touchstone/native"
)

// cudaLibraryName is the file of the CUDA plugin, looked for beside the executable.
const cudaLibraryName = "libtouchstone_cuda.so"

const (
	cudaLibraryEnv = "TOUCHSTONE_CUDA_LIB"
	isaEnv         = "TOUCHSTONE_ISA"
)

// notCanonical is what the worker says at its start in other numerics than the canonical ones.
const notCanonical = "not canonical: another device, cuBLAS or cut of a prompt into chunks may give other bits"

// deviceFlags choose a device and how it computes.
type deviceFlags struct {
	device      string
	threads     int
	numerics    string
	nativeLib   string
	cudaLibrary string
}

func (f *deviceFlags) define(flags *pflag.FlagSet) {
	checked(flags, &f.device, "device", "auto|cpu|sim|cuda:N", "auto", "what computes; auto takes a CUDA device if there is one", device)
	checked(flags, &f.threads, "threads", "N", "0", "CPU threads that compute (0: one a core)", integer(0, 1024))
	checked(flags, &f.numerics, "numerics", "canonical|fast", native.NumericsCanonical.String(),
		"canonical: the same bits everywhere; fast: long prompts by cuBLAS, on CUDA alone, not canonical", oneOf(native.NumericsCanonical.String(), native.NumericsFast.String()))
	f.defineLibraries(flags)
}

func (f *deviceFlags) defineLibraries(flags *pflag.FlagSet) {
	checked(flags, &f.nativeLib, "native-lib", "PATH", "", "a shared library that implements the C ABI, instead of the built-in one", path)
	checked(flags, &f.cudaLibrary, "cuda-lib", "PATH", "", "the CUDA plugin (or "+cudaLibraryEnv+"; default: "+cudaLibraryName+" beside the worker)", path)
}

// opened is a device of an open library. Close releases both.
type opened struct {
	library    native.Library
	context    native.Context
	properties native.DeviceProperties
	name       string // as in --device
}

// Close closes the context and the library.
func (o *opened) Close() error { return errors.Join(o.context.Close(), o.library.Close()) }

// open opens the device that the flags name. It never takes another one instead.
func (f *deviceFlags) open() (*opened, error) {
	options, err := f.contextOptions()
	if err != nil {
		return nil, err
	}
	library, index, name, err := f.find()
	if err != nil {
		return nil, err
	}
	context, err := library.NewContext(index, options)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open device %s: %w", name, err), library.Close())
	}
	properties, err := context.Device()
	if err != nil {
		return nil, errors.Join(err, context.Close(), library.Close())
	}
	return &opened{library: library, context: context, properties: properties, name: name}, nil
}

func (f *deviceFlags) contextOptions() (native.ContextOptions, error) {
	options := native.ContextOptions{Threads: f.threads}
	isas := map[string]native.ISA{
		"": native.ISAAuto, "auto": native.ISAAuto, "scalar": native.ISAScalar, "avx2": native.ISAAVX2,
		"avx512": native.ISAAVX512, "neon": native.ISANEON,
	}
	isa, known := isas[os.Getenv(isaEnv)]
	if !known {
		return options, usageError{fmt.Errorf("%s=%q must be one of auto, scalar, avx2, avx512, neon", isaEnv, os.Getenv(isaEnv))}
	}
	options.ISA = isa
	if !f.canonical() {
		options.Numerics = native.NumericsFast
	}
	return options, nil
}

// canonical tells whether the flags ask for the numerics that give the same bits everywhere.
func (f *deviceFlags) canonical() bool { return f.numerics == native.NumericsCanonical.String() }

// find gives the library that has the wanted device, the device's index in it, and its name.
func (f *deviceFlags) find() (native.Library, int, string, error) {
	if f.nativeLib != "" {
		return findIn(f.nativeLib, f.device)
	}
	cuda, given := f.cudaPath()
	switch {
	case strings.HasPrefix(f.device, "cuda:"):
		return findIn(cuda, f.device)
	case f.device == "auto" && (given || isFile(cuda)):
		return findIn(cuda, "auto")
	case f.device == "auto":
		return findIn("", "cpu")
	}
	return findIn("", f.device)
}

// cudaPath is where the CUDA plugin should be, and whether somebody said so.
func (f *deviceFlags) cudaPath() (plugin string, given bool) {
	if f.cudaLibrary != "" {
		return f.cudaLibrary, true
	}
	if plugin := os.Getenv(cudaLibraryEnv); plugin != "" {
		return plugin, true
	}
	executable, err := os.Executable()
	if err != nil {
		return cudaLibraryName, false
	}
	return filepath.Join(filepath.Dir(executable), cudaLibraryName), false
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

// findIn looks for a device in the library at a path, or in the built-in one if the path is empty; "auto" takes the first.
func findIn(libraryPath, wanted string) (native.Library, int, string, error) {
	library, err := openLibrary(libraryPath)
	if err != nil {
		return nil, 0, "", fmt.Errorf("--device %s: %w", wanted, err)
	}
	devices, err := library.Devices()
	if err != nil {
		return nil, 0, "", errors.Join(fmt.Errorf("--device %s: %w", wanted, err), library.Close())
	}
	names := make([]string, len(devices))
	for i, properties := range devices {
		names[i] = deviceName(properties)
		if names[i] == wanted || wanted == "auto" {
			return library, i, names[i], nil
		}
	}
	has := "no devices"
	if len(names) > 0 {
		has = strings.Join(names, ", ")
	}
	return nil, 0, "", errors.Join(fmt.Errorf("--device %s: there is no such device; %s has %s", wanted, library.Version(), has), library.Close())
}

func openLibrary(libraryPath string) (native.Library, error) {
	if libraryPath == "" {
		return native.Builtin(), nil
	}
	if !isFile(libraryPath) {
		return nil, fmt.Errorf("the library %s is not there; build it (make cuda) or name it with --cuda-lib or %s", libraryPath, cudaLibraryEnv)
	}
	return native.OpenLibrary(libraryPath)
}

// deviceName is how --device names a device.
func deviceName(properties native.DeviceProperties) string {
	if properties.Kind == native.DeviceCUDA {
		return "cuda:" + strconv.Itoa(properties.Ordinal)
	}
	return properties.Kind.String()
}
