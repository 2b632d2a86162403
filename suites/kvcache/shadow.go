package kvcache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"touchstone/native"
	"touchstone/reports/evidence"
	"touchstone/reports/requirement"
	"touchstone/suites/expectation"
	"touchstone/suites/internal/shadow"
	"touchstone/suites/internal/tiny"
	"touchstone/suites/library"
	"touchstone/suites/target"
)

// The specs here compare with the reference library, side by side, what the run's seed has drawn.

func registerShadow(subject func() *target.Target) {
	Describe("KV cache and poison", requirement.Claim("kv.allocation"), func() {
		It("fills a fresh pool with NaN patterns when asked, and writes every position to it", SpecTimeout(specTimeout), func(SpecContext) {
			expectPoison(subject())
		})
	})
	Describe("KV cache under random use", requirement.Claim("kv.management"), func() {
		It("gives the reference's bits through batches, forks, truncations and ends in any order", SpecTimeout(specTimeout), func(SpecContext) {
			expectRandomUse(subject())
		})
	})
	Describe("KV cache far into a context", requirement.Claim("kv.growth"), func() {
		It("gives the reference's bits beyond positions 512 and 4,096", SpecTimeout(specTimeout), func(SpecContext) {
			expectFar(subject())
		})
	})
}

// drawnCase is the seed and index that GATE_CASE names for a kind, or the run's own seed.
func drawnCase(kind string) (seed uint64, index int) {
	GinkgoHelper()
	if name := os.Getenv("GATE_CASE"); name != "" {
		seed, index, ours := expectation.ParseName(kind, name)
		if !ours {
			Skip("GATE_CASE names a case of another spec")
		}
		return seed, index
	}
	seed, err := expectation.RunSeed()
	Expect(err).NotTo(HaveOccurred())
	return seed, 0
}

// onMain loads a drawn model into the backend that whole models run on, and into the reference.
func onMain(subject *target.Target, shape shadow.Shape, seed uint64) (*shadow.Pair, library.Backend) {
	GinkgoHelper()
	subject.Require(target.Native)
	backend, err := subject.Main()
	Expect(err).NotTo(HaveOccurred())
	pair, err := shadow.Load(tiny.OpenContext(subject, tiny.Options{Backend: &backend}), shape.Describe(seed))
	Expect(err).NotTo(HaveOccurred())
	return pair, backend
}

func tokensOf(r *rand.Rand, n, vocab int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(r.IntN(vocab))
	}
	return out
}

// expectFar prefills in random chunks and decodes around the places where a cache may change its ways.
func expectFar(subject *target.Target) {
	GinkgoHelper()
	const kind = "kv-far"
	seed, index := drawnCase(kind)
	shape := shadow.Small()
	shape.Context, shape.KVBlocks = 4400, 300
	pair, backend := onMain(subject, shape, seed)
	r := expectation.Random(seed, index)
	session, err := pair.Open()
	Expect(err).NotTo(HaveOccurred())
	steps := 0
	step := func(tokens []int32, want native.LogitsWanted, s *native.Sampling) {
		GinkgoHelper()
		steps++
		ask := shadow.Ask{Session: session, Tokens: tokens, Want: want, Sampling: s}
		shadow.Agree(pair.Step([]shadow.Ask{ask}), backend.Name, expectation.Name(kind, seed, index))
	}
	stops := []int{500, 1015, 2040, 4085}
	if backend.Slow {
		stops = stops[:1]
	}
	for _, stop := range stops {
		for len(session.History) < stop {
			step(tokensOf(r, min(stop-len(session.History), 1+r.IntN(400)), shape.Vocab), native.LogitsLast, expectation.Sampling(r, shape.Vocab))
		}
		for range 24 {
			next := []int32{session.Next}
			if r.IntN(4) == 0 {
				next = tokensOf(r, 1+r.IntN(3), shape.Vocab)
			}
			step(next, native.LogitsWanted(r.IntN(3)), expectation.Sampling(r, shape.Vocab))
		}
	}
	evidence.Observe(fmt.Sprintf("steps up to position %d on %s, run seed %d", len(session.History), backend.Name, seed), steps, "")
	Expect(pair.Close()).To(Succeed())
}

// mostSessions is more than a worker runs at a time by default.
const mostSessions = 24

// expectRandomUse opens, steps, forks, truncates and closes sessions in an order that nobody has seen before.
func expectRandomUse(subject *target.Target) {
	GinkgoHelper()
	const kind = "kv-use"
	seed, index := drawnCase(kind)
	shape := shadow.Small()
	shape.Context = 200
	shape.KVBlocks = mostSessions * 7
	pair, backend := onMain(subject, shape, seed)
	r := expectation.Random(seed, index)
	rounds := 120
	if backend.Slow {
		rounds = 12
	}
	var sessions []*shadow.Session
	done := map[string]int{}
	for range rounds {
		if len(sessions) < mostSessions && (len(sessions) == 0 || r.IntN(2) == 0) {
			session, err := pair.Open()
			Expect(err).NotTo(HaveOccurred())
			sessions = append(sessions, session)
		}
		at := r.IntN(len(sessions))
		session := sessions[at]
		switch what := r.IntN(8); {
		case what == 0 && len(session.History) > 0:
			Expect(pair.Truncate(session, r.IntN(len(session.History)+1))).To(Succeed())
			done["truncate"]++
		case what == 1 && len(session.History) > 0 && len(sessions) < mostSessions:
			fork, err := pair.Fork(session, r.IntN(len(session.History)+1))
			Expect(err).NotTo(HaveOccurred())
			sessions = append(sessions, fork)
			done["fork"]++
		case what == 2 && len(sessions) > 2:
			Expect(pair.End(session)).To(Succeed())
			sessions = append(sessions[:at], sessions[at+1:]...)
			done["end"]++
		default:
			asks := randomAsks(r, sessions, shape)
			if len(asks) == 0 {
				continue // all that were chosen are full
			}
			shadow.Agree(pair.Step(asks), backend.Name, expectation.Name(kind, seed, index))
			done["step"]++
		}
	}
	evidence.Observe(fmt.Sprintf("operations on %s, run seed %d", backend.Name, seed), done, "")
	Expect(pair.Close()).To(Succeed())
}

// randomAsks is a batch of some of the sessions, prompts and single tokens mixed.
func randomAsks(r *rand.Rand, sessions []*shadow.Session, shape shadow.Shape) []shadow.Ask {
	var asks []shadow.Ask
	rows := 0
	for _, i := range r.Perm(len(sessions))[:1+r.IntN(len(sessions))] {
		session := sessions[i]
		tokens := []int32{max(0, session.Next)}
		if session.Next < 0 || r.IntN(3) == 0 {
			tokens = tokensOf(r, 1+r.IntN(70), shape.Vocab)
		}
		tokens = tokens[:min(len(tokens), shape.Context-len(session.History))]
		if rows += len(tokens); len(tokens) == 0 || rows > shape.MaxRows {
			continue
		}
		ask := shadow.Ask{Session: session, Tokens: tokens, Want: native.LogitsWanted(r.IntN(3))}
		if r.IntN(4) > 0 {
			ask.Sampling = expectation.Sampling(r, shape.Vocab)
		}
		asks = append(asks, ask)
	}
	return asks
}

// expectPoison reads the pool itself, through the system, where its memory is this process's: a library cannot say what is in it.
func expectPoison(subject *target.Target) {
	GinkgoHelper()
	subject.Require(target.Native)
	backend, err := subject.Main()
	Expect(err).NotTo(HaveOccurred())
	if backend.Device.Kind == native.DeviceCUDA {
		evidence.NotRun("the pool read from below", "needs a device whose memory the harness can read")
		return
	}
	const kvBlocks = 8
	model := tiny.Load(subject, tiny.Options{Backend: &backend, Context: native.ContextOptions{PoisonMemory: true}, KVBlocks: kvBlocks})
	pool := kvPool(model)
	Expect(bytes.Count(pool, []byte{0xff})).To(Equal(len(pool)), "bytes of the fresh pool that hold a NaN pattern")
	const positions = 70
	tiny.Fresh(model, tiny.Tokens(positions, 1))
	written := 0
	for i, b := range kvPool(model) {
		if b != pool[i] {
			written++
		}
	}
	// A byte of a number may be 0xff by chance, about one in 256.
	most := positions * tiny.KVBlockBytes / tiny.KVBlock
	Expect(written).To(BeNumerically("<=", most), "bytes written for %d positions", positions)
	Expect(written).To(BeNumerically(">=", most*9/10), "bytes written for %d positions", positions)
	evidence.Observe("bytes of the pool that a step of 70 positions wrote", written, "bytes")
}

// kvPool is what the memory of the KV pool holds now.
func kvPool(model *tiny.Model) []byte {
	GinkgoHelper()
	blocks, err := model.Device.Blocks()
	Expect(err).NotTo(HaveOccurred())
	memory, err := os.Open("/proc/self/mem")
	Expect(err).NotTo(HaveOccurred())
	defer func() { _ = memory.Close() }()
	var out []byte
	for _, block := range blocks {
		if block.Kind != native.MemoryKV {
			continue
		}
		data := make([]byte, block.Bytes)
		_, err := memory.ReadAt(data, int64(block.Address))
		Expect(err).NotTo(HaveOccurred(), "block %q is said to lie at %#x", block.Label, block.Address)
		out = append(out, data...)
	}
	Expect(out).NotTo(BeEmpty(), "the ledger has no block of the KV pool")
	return out
}
