// Package native is the Go side of the C ABI in include/touchstone.h: the only way from Go to the code that computes.
//
// The interfaces hold plain Go values, so that everything above can be tested with a fake that needs no C. A handle is
// closed by whoever got it: closing twice is harmless, use after close is ErrClosed, and a parent that still has children
// refuses to close with StatusBusy. Calls on one context run one at a time; Session.Cancel may come from any goroutine.
package native

// A Library is an implementation of the ABI: the built-in one or a shared object.
type Library interface {
	// Version names the library, e.g. "touchstone 1.0.0".
	Version() string
	// Devices lists what the library can compute on; the index is the device's number in NewContext.
	Devices() ([]DeviceProperties, error)
	// NewContext opens a device.
	NewContext(device int, options ContextOptions) (Context, error)
	// Close unloads a shared object; the built-in library stays.
	Close() error
}

// A Context is an opened device with its memory ledger.
type Context interface {
	// Device tells what was opened, with the memory that is free now.
	Device() (DeviceProperties, error)
	// Memory gives the sums of the ledger.
	Memory() (MemoryStats, error)
	// Blocks lists the live blocks of the ledger.
	Blocks() ([]MemoryBlock, error)
	// CheckResidency asks the driver where every block is. The report is filled in also when the error is StatusResidencyFailed.
	CheckResidency() (ResidencyReport, error)
	// BeginModel reserves all memory for a model and starts to load it.
	BeginModel(description ModelDescription) (Loading, error)
	// RunOp runs one operation through the kernels that the forward pass uses; README.md lists the operations.
	RunOp(op Op) error
	Close() error
}

// Loading is a model on its way to the device.
type Loading interface {
	// Step moves at most budget bytes of tensor data (0: 1 MiB), and at least one row; done equals total at the end.
	Step(budget uint64) (done, total uint64, err error)
	// Finish makes the model ready; the Loading is used up and need not be closed.
	Finish() (Model, error)
	// Close gives up an unfinished load and frees what it held.
	Close() error
}

// A Model is ready to evaluate sessions.
type Model interface {
	Info() (ModelInfo, error)
	NewSession(options SessionOptions) (Session, error)
	// Step evaluates the items in one pass. The error is about the pass as a whole; each item has its own in Err.
	Step(items []StepItem) error
	Close() error
}

// A Session is a sequence of tokens with its blocks of the KV cache.
type Session interface {
	State() (SessionState, error)
	// Truncate forgets all positions from length on.
	Truncate(length int) error
	// Fork starts a session with the first length positions of this one, sharing whole blocks.
	Fork(length int) (Session, error)
	// Cancel makes the running step of this session and all later ones fail with StatusCancelled. Any goroutine.
	Cancel() error
	Close() error
}

// DeviceKind tells what computes.
type DeviceKind int32

// The kinds of device.
const (
	DeviceCPU DeviceKind = iota
	DeviceCUDA
	DeviceSim
)

// String gives the kind's name as in --device.
func (k DeviceKind) String() string {
	switch k {
	case DeviceCPU:
		return "cpu"
	case DeviceCUDA:
		return "cuda"
	case DeviceSim:
		return "sim"
	}
	return "unknown"
}

// DeviceProperties describes a device; fields as in ts_device_properties.
type DeviceProperties struct {
	Kind            DeviceKind
	Ordinal         int
	Name            string
	ISA             string
	UUID            string
	ComputeMajor    int
	ComputeMinor    int
	Multiprocessors int
	DriverVersion   int
	RuntimeVersion  int
	MemoryTotal     uint64 // bytes
	MemoryFree      uint64 // bytes
}

// ISA selects the instruction set of the CPU kernels; all give the same bits.
type ISA int32

// The instruction sets. ISAAuto takes the fastest the processor has.
const (
	ISAAuto ISA = iota
	ISAScalar
	ISAAVX2
	ISAAVX512
	ISANEON
)

// Numerics tells how a context rounds and sums; values as in ts_numerics.
type Numerics int32

// The numerics. NumericsFast is not canonical: linear layers of many rows are left to cuBLAS.
const (
	NumericsCanonical Numerics = iota
	NumericsFast
)

// String gives the name as in --numerics.
func (n Numerics) String() string {
	switch n {
	case NumericsCanonical:
		return "canonical"
	case NumericsFast:
		return "fast"
	}
	return "unknown"
}

// ContextOptions are the settings of a context; zero values are the defaults of ts_context_options.
type ContextOptions struct {
	Threads        int
	ISA            ISA
	PoisonMemory   bool
	MemoryLimit    uint64 // bytes
	FailAllocation uint64 // n-th allocation, from 1; for tests
	OrderSeed      uint64 // simulator only
	Numerics       Numerics
}

// MemoryKind tells what a block is for.
type MemoryKind int32

// The kinds of memory.
const (
	MemoryWeights MemoryKind = iota
	MemoryKV
	MemoryActivations
	MemoryOther
)

// MemorySpace tells where a block lives.
type MemorySpace int32

// The spaces of memory.
const (
	SpaceHost MemorySpace = iota
	SpaceDevice
	SpaceManaged
)

// MemoryStats are the sums of the ledger, in bytes.
type MemoryStats struct {
	Blocks      int
	Weights     uint64
	KV          uint64
	Activations uint64
	Other       uint64
	Peak        uint64
	Limit       uint64
	Allocations uint64 // made since the context was created
}

// Total is the sum of all kinds.
func (m MemoryStats) Total() uint64 { return m.Weights + m.KV + m.Activations + m.Other }

// MemoryBlock is one live block of the ledger.
type MemoryBlock struct {
	ID      uint64
	Address uint64
	Bytes   uint64
	Kind    MemoryKind
	Space   MemorySpace
	Label   string
}

// ResidencyReport is the outcome of a residency check.
type ResidencyReport struct {
	Checked    int
	Outside    int
	FirstID    uint64
	FirstLabel string
}

// DType is the storage format of a tensor; the numbers equal GGUF's.
type DType int32

// The storage formats.
const (
	F32  DType = 0
	F16  DType = 1
	Q4_0 DType = 2
	Q4_1 DType = 3
	Q5_0 DType = 6
	Q5_1 DType = 7
	Q8_0 DType = 8
	Q4_K DType = 12
	Q5_K DType = 13
	Q6_K DType = 14
	I32  DType = 26
	BF16 DType = 30
)

// Tensor is a tensor in host memory; Shape[0] varies fastest. Data is little-endian, and is kept by BeginModel until Finish.
type Tensor struct {
	Name  string
	DType DType
	Shape []uint64
	Data  []byte
}

type (
	// NormKind is ts_norm_kind.
	NormKind int32
	// PositionKind is ts_position_kind.
	PositionKind int32
	// ActivationKind is ts_activation_kind.
	ActivationKind int32
)

// Values of NormKind, PositionKind and ActivationKind, in that order.
const (
	NormRMS   NormKind = 0
	NormLayer NormKind = 1

	PositionRopeNeox        PositionKind = 0
	PositionRopeInterleaved PositionKind = 1
	PositionLearned         PositionKind = 2

	ActivationSwiGLU ActivationKind = 0
	ActivationGELU   ActivationKind = 1
)

// ModelDescription is a model as the ABI takes it: hyper-parameters and tensors under their GGUF names.
type ModelDescription struct {
	VocabSize         int
	ContextLength     int
	BlockCount        int
	EmbeddingLength   int
	FeedForwardLength int
	HeadCount         int
	HeadCountKV       int
	HeadDim           int
	RopeDims          int
	Norm              NormKind
	Position          PositionKind
	Activation        ActivationKind
	NormEpsilon       float32
	AttentionScale    float32
	MaxRows           int       // most tokens of one step; 0: 512
	KVCacheBytes      uint64    // 0: one full context
	RopeCos, RopeSin  []float32 // [ContextLength][RopeDims/2]
	Tensors           []Tensor
}

// ModelInfo tells what a ready model holds and has left.
type ModelInfo struct {
	MaxRows       int
	WeightsBytes  uint64
	KVBlockBytes  uint64
	KVBlocksTotal int
	KVBlocksFree  int
}

// SessionOptions are the settings of a session; MaxLength 0 means the model's context length.
type SessionOptions struct{ MaxLength int }

// SessionState is the state of a session.
type SessionState struct {
	Length       int
	MaxLength    int
	Blocks       int
	SharedBlocks int
	Cancelled    bool
}

// Sampling tells how a token is chosen; ranges and order as in ts_sampling.
type Sampling struct {
	Temperature       float32
	TopK              int
	TopP              float32
	MinP              float32
	RepetitionPenalty float32
	Seed              uint64
	TopLogprobs       int
	FrequencyPenalty  float32
	PresencePenalty   float32
	PenaltyStart      int // position of the first token that these two count
	Biases            []Bias
}

// Bias is added to the logit of a token; see ts_sampling. Forbidden keeps a token from being chosen.
type Bias struct {
	Token int32
	Value float32
}

// Forbidden is the value of a bias that leaves a token no chance.
const Forbidden = -1e9

// TokenLogprob is a token with its natural log-probability.
type TokenLogprob struct {
	Token   int32
	Logprob float32
}

// LogitsWanted tells which logits a step hands out.
type LogitsWanted int

// The choices of LogitsWanted.
const (
	LogitsNone LogitsWanted = iota
	LogitsLast
	LogitsAll
)

// StepItem is one session's part of a step. Token, Logprob, Top, Logits and Err are filled in by Step.
type StepItem struct {
	Session  Session
	Tokens   []int32
	Want     LogitsWanted
	Sampling *Sampling // nil: no token is chosen

	Logits  []float32 // [1 or len(Tokens)][vocab]; reused if it has the capacity
	Token   int32     // -1 if none was chosen
	Logprob float32
	Top     []TokenLogprob
	Err     error
}

// Op is one operation on host tensors. Outputs are written in place.
type Op struct {
	Name       string
	Inputs     []Tensor
	Outputs    []Tensor
	Parameters map[string]float64
}
