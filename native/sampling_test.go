package native_test

import (
	"encoding/binary"
	"math"
	"slices"
	"testing"

	"touchstone/native"
)

// choose evaluates tokens and chooses the next, with its logits.
func choose(t *testing.T, m native.Model, tokens []int32, sampling native.Sampling) (int32, []float32) {
	t.Helper()
	items := []native.StepItem{{Session: newSession(t, m), Tokens: tokens, Sampling: &sampling, Want: native.LogitsLast}}
	check(t, m.Step(items))
	check(t, items[0].Err)
	return items[0].Token, items[0].Logits
}

func argMax(values []float32) int32 {
	best := 0
	for i, value := range values {
		if value > values[best] {
			best = i
		}
	}
	return int32(best)
}

func TestBiasesAndPenaltiesAreAddedToTheLogits(t *testing.T) {
	d := rotaryModel()
	d.KVCacheBytes *= 16 // sessions stay open to the end of the test
	m := load(t, newContext(t, native.ContextOptions{}), d)
	greedy := native.Sampling{TopP: 1, RepetitionPenalty: 1}
	for seed := range uint64(20) {
		tokens := append(someTokens(seed, 24), 5, 5, 5, 9, 9, 11)
		plain, logits := choose(t, m, tokens, greedy)
		if plain != argMax(logits) {
			t.Fatalf("greedy chose %d, the largest logit is that of %d", plain, argMax(logits))
		}
		s := greedy
		s.FrequencyPenalty, s.PresencePenalty, s.PenaltyStart = 1.5, -0.75, 20
		s.Biases = []native.Bias{{Token: plain, Value: -2.5}, {Token: 3, Value: 1.25}}
		want := slices.Clone(logits)
		want[plain] += -2.5
		want[3] += 1.25
		counts := map[int32]float32{}
		for _, token := range tokens[20:] {
			counts[token]++
		}
		for token, count := range counts {
			want[token] = want[token] - float32(count*1.5) - -0.75
		}
		if got, _ := choose(t, m, tokens, s); got != argMax(want) {
			t.Errorf("seed %d: chose %d, want %d", seed, got, argMax(want))
		}
		// What is forbidden is never drawn; with all but one forbidden, that one is.
		s = native.Sampling{Temperature: 2, TopP: 1, RepetitionPenalty: 1, Seed: seed}
		for token := range int32(vocabSize) {
			if token != 7 {
				s.Biases = append(s.Biases, native.Bias{Token: token, Value: native.Forbidden})
			}
		}
		if got, _ := choose(t, m, tokens, s); got != 7 {
			t.Errorf("seed %d: chose the forbidden token %d", seed, got)
		}
		// A bias of nothing changes nothing: the host draws what the device draws.
		s.Biases = nil
		drawn, _ := choose(t, m, tokens, s)
		s.Biases = []native.Bias{{Token: 0, Value: 0}}
		if again, _ := choose(t, m, tokens, s); again != drawn {
			t.Errorf("seed %d: with a bias of 0 token %d was drawn, without %d", seed, again, drawn)
		}
	}
	for _, bad := range []native.Sampling{
		{TopP: 1, RepetitionPenalty: 1, Biases: []native.Bias{{Token: vocabSize}}},
		{TopP: 1, RepetitionPenalty: 1, Biases: []native.Bias{{Token: -1}}},
		{TopP: 1, RepetitionPenalty: 1, Biases: []native.Bias{{Value: float32(math.Inf(-1))}}},
		{TopP: 1, RepetitionPenalty: 1, FrequencyPenalty: 2.5},
		{TopP: 1, RepetitionPenalty: 1, PresencePenalty: float32(math.NaN())},
		{TopP: 1, RepetitionPenalty: 1, PenaltyStart: -1},
	} {
		items := []native.StepItem{{Session: newSession(t, m), Tokens: []int32{1}, Sampling: &bad}}
		err := m.Step(items)
		if err == nil {
			err = items[0].Err
		}
		wantStatus(t, err, native.StatusInvalidArgument)
	}
}

// The operation gives for each token what a step reports when it chooses that token, bit for bit.
func TestScoresAreThoseOfSteps(t *testing.T) {
	d := rotaryModel()
	d.KVCacheBytes *= 4 // sessions stay open to the end of the test
	c := newContext(t, native.ContextOptions{})
	m := load(t, c, d)
	tokens := someTokens(4, 12)
	logits := eval(t, m, newSession(t, m), tokens)
	const top = 5
	f32 := func(n int) []byte { return make([]byte, 4*n) }
	raw := f32(0)
	for _, value := range logits {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(value))
	}
	for _, target := range []int32{0, 33, vocabSize - 1} {
		targets := f32(0)
		for range tokens {
			targets = binary.LittleEndian.AppendUint32(targets, uint32(target))
		}
		rows := uint64(len(tokens))
		outputs := []native.Tensor{
			{DType: native.F32, Shape: []uint64{rows}, Data: f32(len(tokens))},
			{DType: native.I32, Shape: []uint64{top, rows}, Data: f32(top * len(tokens))},
			{DType: native.F32, Shape: []uint64{top, rows}, Data: f32(top * len(tokens))},
		}
		check(t, c.RunOp(native.Op{Name: "score", Inputs: []native.Tensor{
			{DType: native.F32, Shape: []uint64{vocabSize, rows}, Data: raw}, {DType: native.I32, Shape: []uint64{rows}, Data: targets},
		}, Outputs: outputs}))
		for i := range tokens {
			only := []native.Bias{}
			for token := range int32(vocabSize) {
				if token != target {
					only = append(only, native.Bias{Token: token, Value: native.Forbidden})
				}
			}
			items := []native.StepItem{{Session: newSession(t, m), Tokens: tokens[:i+1],
				Sampling: &native.Sampling{TopP: 1, RepetitionPenalty: 1, TopLogprobs: top, Biases: only}}}
			check(t, m.Step(items))
			check(t, items[0].Err)
			word := func(output, k int) uint32 { return binary.LittleEndian.Uint32(outputs[output].Data[4*k:]) }
			if items[0].Token != target || math.Float32bits(items[0].Logprob) != word(0, i) {
				t.Fatalf("position %d, token %d: %v, the step says %d: %v", i, target, math.Float32frombits(word(0, i)),
					items[0].Token, items[0].Logprob)
			}
			for k, likely := range items[0].Top {
				if uint32(likely.Token) != word(1, i*top+k) || math.Float32bits(likely.Logprob) != word(2, i*top+k) {
					t.Fatalf("position %d: alternative %d differs", i, k)
				}
			}
		}
	}
}
