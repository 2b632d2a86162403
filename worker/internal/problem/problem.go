// Package problem is the worker's vocabulary of failures: stable codes, the HTTP status of each, and how a failure of
// the native library becomes one of them.
package problem

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"touchstone/native"
)

// Code is a documented error code; the codes never change meaning.
type Code string

// The codes of the HTTP interface.
const (
	InvalidRequest   Code = "INVALID_REQUEST"
	Unauthorized     Code = "UNAUTHORIZED"
	Forbidden        Code = "FORBIDDEN"
	NotFound         Code = "NOT_FOUND"
	MethodNotAllowed Code = "METHOD_NOT_ALLOWED"
	Conflict         Code = "CONFLICT"
	Cancelled        Code = "CANCELLED"
	ModelLoadFailed  Code = "MODEL_LOAD_FAILED"
	CUDAError        Code = "CUDA_ERROR"
	VRAMOOM          Code = "VRAM_OOM"
	Internal         Code = "INTERNAL"
	InsufficientVRAM Code = "INSUFFICIENT_VRAM"
	Overloaded       Code = "OVERLOADED"
	ShuttingDown     Code = "SHUTTING_DOWN"
	InferenceTimeout Code = "INFERENCE_TIMEOUT"
)

// statusClientClosed is the customary status of a request that its client gave up; net/http has no name for it.
const statusClientClosed = 499

var codes = map[Code]struct {
	status    int
	retriable bool
}{
	InvalidRequest:   {http.StatusBadRequest, false},
	Unauthorized:     {http.StatusUnauthorized, false},
	Forbidden:        {http.StatusForbidden, false},
	NotFound:         {http.StatusNotFound, false},
	MethodNotAllowed: {http.StatusMethodNotAllowed, false},
	Conflict:         {http.StatusConflict, false},
	Cancelled:        {statusClientClosed, false},
	ModelLoadFailed:  {http.StatusInternalServerError, false},
	CUDAError:        {http.StatusInternalServerError, true},
	VRAMOOM:          {http.StatusInternalServerError, true},
	Internal:         {http.StatusInternalServerError, false},
	InsufficientVRAM: {http.StatusServiceUnavailable, false},
	Overloaded:       {http.StatusServiceUnavailable, true},
	ShuttingDown:     {http.StatusServiceUnavailable, true},
	InferenceTimeout: {http.StatusGatewayTimeout, true},
}

// Status is the HTTP status of the code.
func (c Code) Status() int { return codes[c].status }

// Retriable tells whether the same request may succeed later.
func (c Code) Retriable() bool { return codes[c].retriable }

// Field is one refused field of a request.
type Field struct {
	Field      string `json:"field"`
	Constraint string `json:"constraint"`
	Got        any    `json:"got"`
	Message    string `json:"message"`
}

// Problem is a failure as the HTTP interface tells it.
type Problem struct {
	Code       Code
	Message    string
	Errors     []Field
	Detail     string        // the code of OpenAI's interface, if it has one of its own for this
	Status     int           // HTTP status if it is not the code's own
	RetryAfter time.Duration // told in Retry-After if it is positive
}

// New makes a problem with a formatted message.
func New(code Code, format string, arguments ...any) *Problem {
	return &Problem{Code: code, Message: fmt.Sprintf(format, arguments...)}
}

// Error gives the code and the message.
func (p *Problem) Error() string { return string(p.Code) + ": " + p.Message }

// HTTPStatus is the status to answer with.
func (p *Problem) HTTPStatus() int {
	if p.Status != 0 {
		return p.Status
	}
	return p.Code.Status()
}

var nativeCodes = map[native.Status]Code{
	native.StatusInvalidArgument:       InvalidRequest,
	native.StatusDeviceNotFound:        CUDAError,
	native.StatusInvalidDevice:         CUDAError,
	native.StatusOutOfMemory:           VRAMOOM,
	native.StatusModelLoadFailed:       ModelLoadFailed,
	native.StatusUnsupported:           InvalidRequest,
	native.StatusInferenceFailed:       Internal,
	native.StatusResidencyFailed:       CUDAError,
	native.StatusKernelLaunchFailed:    CUDAError,
	native.StatusContextLengthExceeded: InvalidRequest,
	native.StatusCancelled:             Cancelled,
	native.StatusBusy:                  Overloaded,
	native.StatusABIMismatch:           ModelLoadFailed,
	native.StatusInternal:              Internal,
}

// FromNative translates an error of the native library. The message begins with the name of its status, so that no two
// statuses read the same even where they share a code.
func FromNative(err error) *Problem {
	if p := (*Problem)(nil); errors.As(err, &p) {
		return p
	}
	code, known := nativeCodes[native.StatusOf(err)]
	if !known {
		code = Internal
	}
	message := err.Error()
	if n := (*native.Error)(nil); errors.As(err, &n) && n.Status == native.StatusOutOfMemory {
		message = fmt.Sprintf("%s (required %d bytes, available %d bytes)", message, n.Required, n.Available)
	}
	return &Problem{Code: code, Message: message}
}
