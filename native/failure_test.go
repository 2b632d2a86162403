package native_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"touchstone/native"
)

func ledger(t *testing.T, c native.Context) native.MemoryStats {
	t.Helper()
	stats, err := c.Memory()
	check(t, err)
	return stats
}

// Every allocation of a load and a step fails once; whatever was held before is what is held after.
func TestEveryFailingAllocationLeavesTheLedgerAsItWas(t *testing.T) {
	for n := uint64(1); ; n++ {
		c, err := native.Builtin().NewContext(0, native.ContextOptions{Threads: 1, FailAllocation: n, PoisonMemory: true})
		check(t, err)
		m, err := tryLoad(c, rotaryModel())
		if err == nil {
			s, sessionErr := m.NewSession(native.SessionOptions{})
			check(t, sessionErr)
			items := []native.StepItem{{Session: s, Tokens: someTokens(1, 40)}}
			err = m.Step(items)
			state, stateErr := s.State()
			check(t, stateErr)
			if err != nil && (state.Length != 0 || state.Blocks != 0) {
				t.Errorf("allocation %d: the failed step left %+v", n, state)
			}
			check(t, s.Close())
			check(t, m.Close())
		}
		if stats := ledger(t, c); stats.Total() != 0 || stats.Blocks != 0 {
			t.Fatalf("allocation %d: %+v is left", n, stats)
		}
		check(t, c.Close())
		if err == nil {
			if n < 40 {
				t.Fatalf("only %d allocations were made to fail", n-1)
			}
			return
		}
		wantStatus(t, err, native.StatusOutOfMemory)
	}
}

func TestTooLittleMemoryFailsAtOnceWithFigures(t *testing.T) {
	c := newContext(t, native.ContextOptions{MemoryLimit: 100_000})
	_, err := c.BeginModel(rotaryModel())
	wantStatus(t, err, native.StatusOutOfMemory)
	var detail *native.Error
	if !errors.As(err, &detail) || detail.Available != 100_000 || detail.Required <= detail.Available {
		t.Errorf("required and available are missing: %+v", detail)
	}
	if stats := ledger(t, c); stats.Allocations != 0 {
		t.Errorf("something was allocated: %+v", stats)
	}
}

func TestFullCacheFailsOneItemAlone(t *testing.T) {
	d := rotaryModel()
	d.KVCacheBytes = 3 * 8192
	m := load(t, newContext(t, native.ContextOptions{}), d)
	tokens := someTokens(1, 10)
	want := reference(t, m, tokens)
	long, short := newSession(t, m), newSession(t, m)
	eval(t, m, long, someTokens(2, 48))
	eval(t, m, short, tokens[:4])
	items := []native.StepItem{{Session: long, Tokens: someTokens(3, 20)}, {Session: short, Tokens: tokens[4:], Want: native.LogitsAll}}
	check(t, m.Step(items))
	var detail *native.Error
	if !errors.As(items[0].Err, &detail) || detail.Status != native.StatusOutOfMemory || detail.Required != 8192 || detail.Available != 0 {
		t.Errorf("the item without blocks: %+v", items[0].Err)
	}
	check(t, items[1].Err)
	wantSameBits(t, items[1].Logits, want[4*vocabSize:], "the item that fits")
	state, err := long.State()
	check(t, err)
	if state.Length != 48 || state.Blocks != 2 {
		t.Errorf("the failed item left %+v", state)
	}
}

func TestItemsFailAlone(t *testing.T) {
	m := load(t, newContext(t, native.ContextOptions{}), rotaryModel())
	tokens := someTokens(1, 10)
	want := reference(t, m, tokens)
	good, cancelled, bad := newSession(t, m), newSession(t, m), newSession(t, m)
	short, err := m.NewSession(native.SessionOptions{MaxLength: 5})
	check(t, err)
	defer func() { check(t, short.Close()) }()
	check(t, cancelled.Cancel())
	items := []native.StepItem{
		{Session: cancelled, Tokens: tokens},
		{Session: short, Tokens: tokens},
		{Session: bad, Tokens: []int32{1, vocabSize}},
		{Session: good, Tokens: tokens, Want: native.LogitsAll},
	}
	check(t, m.Step(items))
	for i, status := range []native.Status{native.StatusCancelled, native.StatusContextLengthExceeded, native.StatusInvalidArgument, native.StatusOK} {
		wantStatus(t, items[i].Err, status)
	}
	wantSameBits(t, items[3].Logits, want, "the good item")
	for _, s := range []native.Session{cancelled, short, bad} {
		state, err := s.State()
		check(t, err)
		if state.Length != 0 || state.Blocks != 0 {
			t.Errorf("a failed item left %+v", state)
		}
	}
}

func TestNaNFailsItsItemAlone(t *testing.T) {
	d := rotaryModel()
	embedding := slices.Clone(d.Tensors[0].Data)
	copy(embedding[5*64*4:], []byte{0, 0, 0xc0, 0x7f}) // the first element of token 5 is NaN
	d.Tensors[0].Data = embedding
	d.Tensors = append(d.Tensors, tensorLike(rotaryModel().Tensors[0], "output.weight"))
	m := load(t, newContext(t, native.ContextOptions{}), d)
	sampling := &native.Sampling{TopP: 1, RepetitionPenalty: 1}
	for _, want := range []native.LogitsWanted{native.LogitsNone, native.LogitsLast} {
		items := []native.StepItem{
			{Session: newSession(t, m), Tokens: []int32{5}, Want: want, Sampling: sampling},
			{Session: newSession(t, m), Tokens: []int32{6}, Want: want, Sampling: sampling},
			{Session: newSession(t, m), Tokens: []int32{5}, Want: native.LogitsLast},
		}
		check(t, m.Step(items))
		wantStatus(t, items[0].Err, native.StatusInferenceFailed)
		wantStatus(t, items[1].Err, native.StatusOK)
		wantStatus(t, items[2].Err, native.StatusInferenceFailed)
		if items[0].Token != -1 || items[1].Token < 0 {
			t.Errorf("tokens %d and %d", items[0].Token, items[1].Token)
		}
	}
}

func tensorLike(t native.Tensor, name string) native.Tensor {
	t.Name = name
	return t
}

func TestCallsThatAreWrongAsAWhole(t *testing.T) {
	c := newContext(t, native.ContextOptions{})
	m := load(t, c, rotaryModel())
	s, other := newSession(t, m), newSession(t, m)
	tokens := someTokens(1, 49)
	cases := map[string][]native.StepItem{
		"no items":        {},
		"a session twice": {{Session: s, Tokens: tokens[:1]}, {Session: s, Tokens: tokens[:1]}},
		"too many rows":   {{Session: s, Tokens: tokens[:25]}, {Session: other, Tokens: tokens[:24]}},
		"no session":      {{Tokens: tokens[:1]}},
	}
	for name, items := range cases {
		t.Run(name, func(t *testing.T) { wantStatus(t, m.Step(items), native.StatusInvalidArgument) })
	}
	_, err := c.BeginModel(rotaryModel())
	wantStatus(t, err, native.StatusBusy)
	_, err = native.Builtin().NewContext(1000, native.ContextOptions{})
	wantStatus(t, err, native.StatusInvalidDevice)
	_, err = native.Builtin().NewContext(-1, native.ContextOptions{})
	wantStatus(t, err, native.StatusInvalidDevice)
	wantStatus(t, c.RunOp(native.Op{Name: "no such operation"}), native.StatusUnsupported)
	wantStatus(t, s.Truncate(1), native.StatusInvalidArgument)
	_, err = s.Fork(1)
	wantStatus(t, err, native.StatusInvalidArgument)
	_, err = m.NewSession(native.SessionOptions{MaxLength: contextLength + 1})
	wantStatus(t, err, native.StatusInvalidArgument)
}

func TestDescriptionsThatDoNotFit(t *testing.T) {
	c := newContext(t, native.ContextOptions{})
	cases := map[string]func(d *native.ModelDescription){
		"a tensor is missing": func(d *native.ModelDescription) { d.Tensors = d.Tensors[1:] },
		"a tensor too many": func(d *native.ModelDescription) {
			d.Tensors = append(d.Tensors, tensorLike(d.Tensors[0], "blk.0.attn_q_norm.weight"))
		},
		"a tensor twice":           func(d *native.ModelDescription) { d.Tensors = append(d.Tensors, d.Tensors[0]) },
		"another shape":            func(d *native.ModelDescription) { d.FeedForwardLength = 95 },
		"data too short":           func(d *native.ModelDescription) { d.Tensors[0].Data = d.Tensors[0].Data[4:] },
		"an unknown format":        func(d *native.ModelDescription) { d.Tensors[0].DType = 99 },
		"heads that do not divide": func(d *native.ModelDescription) { d.HeadCountKV = 3 },
		"no heads":                 func(d *native.ModelDescription) { d.HeadCount = 0 },
		"an unknown norm":          func(d *native.ModelDescription) { d.Norm = 7 },
		"epsilon is NaN":           func(d *native.ModelDescription) { d.NormEpsilon = float32(math.NaN()) },
		"a cache below a block":    func(d *native.ModelDescription) { d.KVCacheBytes = 8191 },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			d := rotaryModel()
			spoil(&d)
			_, err := c.BeginModel(d)
			wantStatus(t, err, native.StatusModelLoadFailed)
		})
	}
	if stats := ledger(t, c); stats.Total() != 0 {
		t.Errorf("%+v is left", stats)
	}
}

func TestHandles(t *testing.T) {
	c, err := native.Builtin().NewContext(0, native.ContextOptions{Threads: 1})
	check(t, err)
	l, err := c.BeginModel(rotaryModel())
	check(t, err)
	_, err = l.Finish()
	wantStatus(t, err, native.StatusInvalidArgument) // not loaded yet
	wantStatus(t, c.Close(), native.StatusBusy)
	check(t, l.Close())
	m, err := tryLoad(c, rotaryModel())
	check(t, err)
	s, err := m.NewSession(native.SessionOptions{})
	check(t, err)
	wantStatus(t, c.Close(), native.StatusBusy)
	wantStatus(t, m.Close(), native.StatusBusy)
	for range 2 {
		check(t, s.Close())
	}
	_, err = s.State()
	wantClosed(t, err, s.Cancel(), s.Truncate(0), m.Step([]native.StepItem{{Session: s, Tokens: []int32{1}}}))
	for range 2 {
		check(t, m.Close())
	}
	_, err = m.NewSession(native.SessionOptions{})
	wantClosed(t, err, m.Step(nil))
	for range 2 {
		check(t, c.Close())
	}
	_, err = c.Memory()
	wantClosed(t, err, c.RunOp(native.Op{}))
}

func wantClosed(t *testing.T, errs ...error) {
	t.Helper()
	for i, err := range errs {
		if !errors.Is(err, native.ErrClosed) {
			t.Errorf("use %d after close: %v, want ErrClosed", i, err)
		}
	}
}

func TestOpenLibraryRefusesWhatIsNoLibrary(t *testing.T) {
	_, err := native.OpenLibrary(t.TempDir() + "/absent.so")
	wantStatus(t, err, native.StatusInvalidArgument)
	_, err = native.OpenLibrary("libm.so.6")
	wantStatus(t, err, native.StatusABIMismatch)
	if speaks, err := native.Speaks("", native.ABIMajor+1); speaks || err != nil {
		t.Errorf("the built-in library speaks another major version (%v)", err)
	}
}

// Cancel from another goroutine ends a session that keeps stepping, and leaves it at the length of its last good step.
func TestCancelWhileStepping(t *testing.T) {
	m := load(t, newContext(t, native.ContextOptions{}), rotaryModel())
	s := newSession(t, m)
	tokens := someTokens(1, 40)
	started := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		for round := 0; ; round++ {
			items := []native.StepItem{{Session: s, Tokens: tokens}}
			if err := m.Step(items); err != nil {
				result <- err
				return
			}
			if items[0].Err != nil {
				result <- items[0].Err
				return
			}
			if err := s.Truncate(0); err != nil {
				result <- err
				return
			}
			if round == 0 {
				close(started)
			}
		}
	}()
	<-started
	check(t, s.Cancel())
	wantStatus(t, <-result, native.StatusCancelled)
	state, err := s.State()
	check(t, err)
	if state.Length != 0 || state.Blocks != 0 || !state.Cancelled {
		t.Errorf("the cancelled session: %+v", state)
	}
}
