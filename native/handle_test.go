package native

import (
	"errors"
	"runtime"
	"testing"
	"time"
)

// owner is a handle without native memory, so that forgetting it leaks nothing.
type owner struct {
	handle
	_ [64]byte // keeps it out of the tiny allocator, whose objects die together
}

func newOwner(kind string) *owner {
	o := &owner{}
	watch(o, &o.handle, kind)
	return o
}

func TestForgottenHandlesAreReported(t *testing.T) {
	reports := make(chan string, 10)
	OnForgotten(func(kind string) { reports <- kind })
	defer OnForgotten(nil)
	if err := newOwner("closed").close(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	kept := newOwner("kept")
	newOwner("forgotten")
	deadline := time.After(20 * time.Second)
	for reported := false; !reported; {
		runtime.GC()
		select {
		case kind := <-reports:
			if kind != "forgotten" {
				t.Fatalf("%q was reported", kind)
			}
			reported = true
		case <-deadline:
			t.Fatal("the forgotten handle was not reported")
		default:
		}
	}
	runtime.GC()
	select {
	case kind := <-reports:
		t.Errorf("%q was reported too", kind)
	default:
	}
	runtime.KeepAlive(kept)
}

func TestCloseWaitsForNoCall(t *testing.T) {
	o := newOwner("busy")
	if err := o.begin(); err != nil {
		t.Fatal(err)
	}
	released := 0
	release := func() error { released++; return nil }
	if err := o.close(release); StatusOf(err) != StatusBusy || released != 0 {
		t.Errorf("close during a call: %v", err)
	}
	o.end()
	for range 2 {
		if err := o.close(release); err != nil {
			t.Error(err)
		}
	}
	if released != 1 || !errors.Is(o.begin(), ErrClosed) {
		t.Errorf("released %d times, want once", released)
	}
}
