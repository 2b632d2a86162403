package native_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"touchstone/native"
)

// reference gives the logits of tokens evaluated in one chunk by a fresh session.
func reference(t *testing.T, m native.Model, tokens []int32) []float32 {
	t.Helper()
	s, err := m.NewSession(native.SessionOptions{})
	check(t, err)
	logits := evalChunks(t, m, s, tokens, 48)
	check(t, s.Close())
	return logits
}

func forEachModel(t *testing.T, test func(t *testing.T, m native.Model)) {
	for name, describe := range models {
		t.Run(name, func(t *testing.T) {
			test(t, load(t, newContext(t, native.ContextOptions{}), describe()))
		})
	}
}

func TestEverySplitGivesTheSameBits(t *testing.T) {
	forEachModel(t, func(t *testing.T, m native.Model) {
		tokens := someTokens(1, 44)
		want := reference(t, m, tokens)
		for split := 1; split < len(tokens); split++ {
			s := newSession(t, m)
			got := append(append([]float32(nil), eval(t, m, s, tokens[:split])...), eval(t, m, s, tokens[split:])...)
			wantSameBits(t, got, want, "a prompt in two chunks")
			check(t, s.Truncate(0))
		}
	})
}

func TestDecodeEqualsPrefill(t *testing.T) {
	forEachModel(t, func(t *testing.T, m native.Model) {
		tokens := someTokens(2, 100)
		want := reference(t, m, tokens)
		wantSameBits(t, evalChunks(t, m, newSession(t, m), tokens, 1), want, "token by token")
		wantSameBits(t, evalChunks(t, m, newSession(t, m), tokens, 7), want, "in chunks of 7")
		changed := append([]int32(nil), tokens...)
		changed[50] = (changed[50] + 1) % vocabSize
		other := reference(t, m, changed)
		wantSameBits(t, other[:50*vocabSize], want[:50*vocabSize], "before a changed token")
		if other[50*vocabSize] == want[50*vocabSize] {
			t.Error("another token gave the same logit: the comparison compares nothing")
		}
	})
}

func TestForkEqualsUnshared(t *testing.T) {
	forEachModel(t, func(t *testing.T, m native.Model) {
		tokens := someTokens(3, 90)
		want := reference(t, m, tokens)
		parent := newSession(t, m)
		evalChunks(t, m, parent, tokens[:80], 40)
		for _, length := range []int{0, 1, 31, 32, 33, 64, 80} {
			fork, err := parent.Fork(length)
			check(t, err)
			state, err := fork.State()
			check(t, err)
			if state.Length != length || state.SharedBlocks != length/32 || state.Blocks != (length+31)/32 {
				t.Fatalf("a fork at %d: %+v", length, state)
			}
			wantSameBits(t, evalChunks(t, m, fork, tokens[length:], 40), want[length*vocabSize:], "a fork")
			check(t, fork.Close())
		}
		wantSameBits(t, eval(t, m, parent, tokens[80:]), want[80*vocabSize:], "the parent after its forks")
	})
}

func TestTruncateEqualsNever(t *testing.T) {
	forEachModel(t, func(t *testing.T, m native.Model) {
		tokens, others := someTokens(4, 90), someTokens(5, 90)
		want := reference(t, m, tokens)
		s := newSession(t, m)
		evalChunks(t, m, s, tokens[:70], 40)
		for _, length := range []int{70, 64, 40, 31, 0} {
			evalChunks(t, m, s, others[:20], 20)
			check(t, s.Truncate(length))
			evalChunks(t, m, s, tokens[length:70], 40)
		}
		wantSameBits(t, eval(t, m, s, tokens[70:]), want[70*vocabSize:], "after truncations")
	})
}

// A session cut back into a block that a fork shares must not write into the fork's positions.
func TestTruncateIntoSharedBlockCopiesIt(t *testing.T) {
	forEachModel(t, func(t *testing.T, m native.Model) {
		tokens, others := someTokens(6, 90), someTokens(7, 90)
		want := reference(t, m, tokens)
		parent := newSession(t, m)
		evalChunks(t, m, parent, tokens[:64], 32)
		fork, err := parent.Fork(64)
		check(t, err)
		check(t, parent.Truncate(40))
		evalChunks(t, m, parent, others[:20], 20)
		wantSameBits(t, eval(t, m, fork, tokens[64:]), want[64*vocabSize:], "the fork")
		check(t, parent.Truncate(40))
		wantSameBits(t, evalChunks(t, m, parent, tokens[40:], 40), want[40*vocabSize:], "the parent")
		check(t, fork.Close())
	})
}

func TestInterleavedSessionsDoNotTouchEachOther(t *testing.T) {
	forEachModel(t, func(t *testing.T, m native.Model) {
		const count = 3
		var tokens [count][]int32
		var want, got [count][]float32
		var sessions [count]native.Session
		for i := range count {
			tokens[i] = someTokens(uint64(10+i), 40+5*i)
			want[i] = reference(t, m, tokens[i])
			sessions[i] = newSession(t, m)
		}
		// Uneven chunks, so that blocks of the sessions alternate in the pool.
		at := [count]int{}
		for round := 0; at[0] < len(tokens[0]) || at[1] < len(tokens[1]) || at[2] < len(tokens[2]); round++ {
			var items []native.StepItem
			var who []int
			for i := range count {
				n := min(1+(round+i)%9, len(tokens[i])-at[i])
				if n > 0 {
					items = append(items, native.StepItem{Session: sessions[i], Tokens: tokens[i][at[i] : at[i]+n], Want: native.LogitsAll})
					who = append(who, i)
					at[i] += n
				}
			}
			check(t, m.Step(items))
			for k, i := range who {
				check(t, items[k].Err)
				got[i] = append(got[i], items[k].Logits...)
			}
		}
		for i := range count {
			wantSameBits(t, got[i], want[i], "a session among others")
		}
	})
}

func TestThreadsAndInstructionSetsGiveTheSameBits(t *testing.T) {
	tokens := someTokens(20, 48)
	want := reference(t, load(t, newContext(t, native.ContextOptions{Threads: 1, ISA: native.ISAScalar}), rotaryModel()), tokens)
	for _, isa := range []native.ISA{native.ISAScalar, native.ISAAVX2, native.ISAAVX512, native.ISANEON} {
		for _, threads := range []int{1, 3} {
			c, err := native.Builtin().NewContext(0, native.ContextOptions{Threads: threads, ISA: isa})
			if native.StatusOf(err) == native.StatusUnsupported {
				continue // this processor lacks it
			}
			check(t, err)
			m, err := tryLoad(c, rotaryModel())
			check(t, err)
			wantSameBits(t, reference(t, m, tokens), want, "another instruction set or number of threads")
			check(t, m.Close())
			check(t, c.Close())
		}
	}
}

func TestLastLogitsAndSamplingAgreeWithAll(t *testing.T) {
	forEachModel(t, func(t *testing.T, m native.Model) {
		tokens := someTokens(8, 40)
		want := reference(t, m, tokens)[39*vocabSize:]
		items := []native.StepItem{{Session: newSession(t, m), Tokens: tokens, Want: native.LogitsLast,
			Sampling: &native.Sampling{TopP: 1, RepetitionPenalty: 1, TopLogprobs: 3}}}
		check(t, m.Step(items))
		check(t, items[0].Err)
		wantSameBits(t, items[0].Logits, want, "the last logits")
		best, sum := 0, 0.0
		for i, logit := range want {
			if logit > want[best] {
				best = i
			}
		}
		for _, logit := range want {
			sum += math.Exp(float64(logit - want[best]))
		}
		if int(items[0].Token) != best {
			t.Errorf("greedy token %d, want %d", items[0].Token, best)
		}
		if got := float64(items[0].Logprob); math.Abs(got+math.Log(sum)) > 1e-5 {
			t.Errorf("logprob %v, want %v", got, -math.Log(sum))
		}
		if len(items[0].Top) != 3 || items[0].Top[0].Token != items[0].Token {
			t.Errorf("top alternatives %v", items[0].Top)
		}
	})
}

// Random forks, truncations and steps: at any time the free blocks and the distinct blocks in tables make up the pool.
func TestBlocksAreNeverLost(t *testing.T) {
	d := rotaryModel()
	m := load(t, newContext(t, native.ContextOptions{}), d)
	random := rand.New(rand.NewPCG(99, 0))
	var sessions []native.Session
	lengths := map[native.Session]int{}
	for range 400 {
		switch pick := random.IntN(5); {
		case len(sessions) == 0 || pick == 0 && len(sessions) < 6:
			s, err := m.NewSession(native.SessionOptions{})
			check(t, err)
			sessions = append(sessions, s)
		case pick == 1 && len(sessions) < 6:
			parent := sessions[random.IntN(len(sessions))]
			length := random.IntN(lengths[parent] + 1)
			s, err := parent.Fork(length)
			if native.StatusOf(err) == native.StatusOutOfMemory {
				continue
			}
			check(t, err)
			sessions, lengths[s] = append(sessions, s), length
		case pick == 2:
			s := sessions[random.IntN(len(sessions))]
			lengths[s] = random.IntN(lengths[s] + 1)
			check(t, s.Truncate(lengths[s]))
		case pick == 3 && random.IntN(3) == 0:
			i := random.IntN(len(sessions))
			check(t, sessions[i].Close())
			delete(lengths, sessions[i])
			sessions = slices.Delete(sessions, i, i+1)
		default:
			s := sessions[random.IntN(len(sessions))]
			n := 1 + random.IntN(40)
			items := []native.StepItem{{Session: s, Tokens: someTokens(random.Uint64(), n)}}
			check(t, m.Step(items))
			if items[0].Err == nil {
				lengths[s] += n
			}
		}
		held, shared := 0, 0
		for _, s := range sessions {
			state, err := s.State()
			check(t, err)
			if state.Length != lengths[s] || state.Blocks != (state.Length+31)/32 {
				t.Fatalf("a session of %d positions: %+v", lengths[s], state)
			}
			held += state.Blocks
			shared += state.SharedBlocks
		}
		info, err := m.Info()
		check(t, err)
		// A shared block stands in at least two tables.
		if used := info.KVBlocksTotal - info.KVBlocksFree; used > held-shared/2 || used < held-shared {
			t.Fatalf("%d blocks are used; the tables have %d entries, %d of them shared", used, held, shared)
		}
	}
	for _, s := range sessions {
		check(t, s.Close())
	}
	info, err := m.Info()
	check(t, err)
	if info.KVBlocksFree != info.KVBlocksTotal {
		t.Errorf("%d of %d blocks are free after all sessions were closed", info.KVBlocksFree, info.KVBlocksTotal)
	}
}

// All devices of the library compute the bits that the first one does.
func TestDevicesGiveTheSameBits(t *testing.T) {
	devices, err := native.Builtin().Devices()
	check(t, err)
	for name, describe := range models {
		tokens := someTokens(21, 40)
		want := reference(t, load(t, newContext(t, native.ContextOptions{}), describe()), tokens)
		for i, device := range devices {
			t.Run(name+" on "+device.Kind.String(), func(t *testing.T) {
				c, err := native.Builtin().NewContext(i, native.ContextOptions{OrderSeed: 5})
				check(t, err)
				m, err := tryLoad(c, describe())
				check(t, err)
				wantSameBits(t, reference(t, m, tokens), want, "on "+device.Kind.String())
				check(t, m.Close())
				check(t, c.Close())
			})
		}
	}
}
