package native

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

var forgottenHook atomic.Pointer[func(kind string)]

// OnForgotten sets what is called when a handle became unreachable without Close; kind is "library", "context", "loading",
// "model" or "session". It is for tests: a forgotten handle is not closed. nil (the default) reports nothing.
func OnForgotten(hook func(kind string)) {
	if hook == nil {
		forgottenHook.Store(nil)
		return
	}
	forgottenHook.Store(&hook)
}

func reportForgotten(kind string) {
	if hook := forgottenHook.Load(); hook != nil {
		(*hook)(kind)
	}
}

// handle holds what all handles share: they are open until closed, and are not closed while a call runs on them.
type handle struct {
	mu      sync.Mutex
	calls   int
	closed  bool
	cleanup runtime.Cleanup
}

// watch reports the handle's owner when it is forgotten.
func watch[T any](owner *T, h *handle, kind string) {
	h.cleanup = runtime.AddCleanup(owner, reportForgotten, kind)
}

// begin lets a call use the handle until end.
func (h *handle) begin() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return ErrClosed
	}
	h.calls++
	return nil
}

func (h *handle) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls--
}

// close runs release once. If it fails, the handle stays open.
func (h *handle) close(release func() error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	if h.calls > 0 {
		return &Error{Status: StatusBusy, Message: "a call is running on the handle; wait for it and close again"}
	}
	if err := release(); err != nil {
		return err
	}
	h.closed = true
	h.cleanup.Stop()
	return nil
}

func invalid(format string, args ...any) error {
	return &Error{Status: StatusInvalidArgument, Message: fmt.Sprintf(format, args...)}
}
