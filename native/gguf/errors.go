package gguf

import (
	"errors"
	"fmt"
	"strings"
)

// A Code says what kind of fault an Error is; codes never change.
type Code string

// The codes.
const (
	CodeOpen            Code = "OPEN_FAILED"      // the file cannot be opened or mapped
	CodeMagic           Code = "NOT_GGUF"         // not a GGUF file
	CodeByteOrder       Code = "BIG_ENDIAN"       // a big-endian file
	CodeVersion         Code = "VERSION"          // a version that is not supported
	CodeTruncated       Code = "TRUNCATED"        // the file ends before what it describes
	CodeMetadata        Code = "INVALID_METADATA" // a key or value that breaks the format
	CodeTensor          Code = "INVALID_TENSOR"   // a tensor description that breaks the format
	CodeUnsupportedType Code = "UNSUPPORTED_TYPE" // a tensor whose type is not supported
	CodeMissingKey      Code = "MISSING_KEY"      // metadata lacks a key that was asked for
	CodeWrongType       Code = "WRONG_TYPE"       // a key has a value of another type than was asked for
	CodeClosed          Code = "CLOSED"           // the file has been closed
)

// Errors that errors.Is finds in an *Error of the same code.
var (
	ErrMissingKey = errors.New("missing metadata key")
	ErrWrongType  = errors.New("metadata value of another type")
	ErrClosed     = errors.New("use of a closed model file")
)

// An Error says what is wrong with a file, where, and what to do.
type Error struct {
	Code    Code
	Path    string // empty if parsed from memory
	Offset  int64  // bytes from the beginning of the file; -1 if no place in the file is meant
	Message string
	Err     error // cause; may be nil
}

// Error gives the path, the place, the message and the cause on one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Path != "" {
		b.WriteString(e.Path + ": ")
	}
	if e.Offset >= 0 {
		fmt.Fprintf(&b, "byte %d: ", e.Offset)
	}
	b.WriteString(e.Message)
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }
