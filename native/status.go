package native

import (
	"errors"
	"fmt"
)

// Status is a code of the ABI. The values never change meaning.
type Status int32

// The statuses, as in ts_status.
const (
	StatusOK                    Status = 0
	StatusInvalidArgument       Status = 1
	StatusDeviceNotFound        Status = 2
	StatusInvalidDevice         Status = 3
	StatusOutOfMemory           Status = 4
	StatusModelLoadFailed       Status = 5
	StatusUnsupported           Status = 6
	StatusInferenceFailed       Status = 7
	StatusResidencyFailed       Status = 8
	StatusKernelLaunchFailed    Status = 9
	StatusContextLengthExceeded Status = 10
	StatusCancelled             Status = 11
	StatusBusy                  Status = 12
	StatusABIMismatch           Status = 13
	StatusInternal              Status = 14
)

// String gives the upper-case name, e.g. "OUT_OF_MEMORY".
func (s Status) String() string {
	names := [...]string{"OK", "INVALID_ARGUMENT", "DEVICE_NOT_FOUND", "INVALID_DEVICE", "OUT_OF_MEMORY", "MODEL_LOAD_FAILED",
		"UNSUPPORTED", "INFERENCE_FAILED", "RESIDENCY_FAILED", "KERNEL_LAUNCH_FAILED", "CONTEXT_LENGTH_EXCEEDED", "CANCELLED",
		"BUSY", "ABI_MISMATCH", "INTERNAL"}
	if s < 0 || int(s) >= len(names) {
		return "UNKNOWN"
	}
	return names[s]
}

// ErrClosed is returned by every method of a handle after Close, except Close itself.
var ErrClosed = errors.New("native: the handle is closed")

// Error is a failed call: its status, the library's text and, when memory was short, the bytes.
type Error struct {
	Status    Status
	Message   string
	Required  uint64 // bytes; 0 unless Status is StatusOutOfMemory
	Available uint64 // bytes; likewise
}

// Error gives the status's name and the library's text.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Status, e.Message) }

// StatusOf returns the status that err carries: StatusOK for nil, StatusInternal for an error that is not from the ABI.
func StatusOf(err error) Status {
	if err == nil {
		return StatusOK
	}
	var native *Error
	if errors.As(err, &native) {
		return native.Status
	}
	return StatusInternal
}
