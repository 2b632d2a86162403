package native

// #include "bridge.h"
import "C"

import "math"

type session struct {
	handle
	model *model
	ptr   *C.ts_session
}

func newSession(m *model, ptr *C.ts_session) *session {
	s := &session{model: m, ptr: ptr}
	watch(s, &s.handle, "session")
	return s
}

func (s *session) api() *C.ts_api { return s.model.context.library.api }

func (s *session) State() (SessionState, error) {
	if err := s.begin(); err != nil {
		return SessionState{}, err
	}
	defer s.end()
	detail := newError()
	c := C.ts_session_state{struct_size: C.sizeof_ts_session_state}
	if err := toError(C.call_session_state(s.api(), s.ptr, &c, &detail), &detail); err != nil {
		return SessionState{}, err
	}
	return SessionState{Length: int(c.length), MaxLength: int(c.max_length), Blocks: int(c.blocks), SharedBlocks: int(c.shared_blocks),
		Cancelled: c.cancelled != 0}, nil
}

func (s *session) Truncate(length int) error {
	if length < 0 || int64(length) > math.MaxUint32 {
		return invalid("length is %d; it must be 0 to the session's length", length)
	}
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	detail := newError()
	return toError(C.call_session_truncate(s.api(), s.ptr, C.uint32_t(length), &detail), &detail)
}

func (s *session) Fork(length int) (Session, error) {
	if length < 0 || int64(length) > math.MaxUint32 {
		return nil, invalid("length is %d; it must be 0 to the session's length", length)
	}
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	detail := newError()
	var ptr *C.ts_session
	if err := toError(C.call_session_fork(s.api(), s.ptr, C.uint32_t(length), &ptr, &detail), &detail); err != nil {
		return nil, err
	}
	return newSession(s.model, ptr), nil
}

// Cancel holds the handle's lock, so that Close from another goroutine cannot free the session meanwhile.
func (s *session) Cancel() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	detail := newError()
	return toError(C.call_session_cancel(s.api(), s.ptr, &detail), &detail)
}

func (s *session) Close() error {
	return s.close(func() error {
		detail := newError()
		return toError(C.call_session_destroy(s.api(), s.ptr, &detail), &detail)
	})
}
