package expectation

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestPairsShareAPrefixAndFollowFromTheSeed(t *testing.T) {
	drawn := map[string]bool{}
	for index := range 500 {
		pair := Pair(seed, index, Everything())
		if !reflect.DeepEqual(pair, Pair(seed, index, Everything())) {
			t.Fatalf("pair %d differs when it is drawn again", index)
		}
		if other := Pair(seed+1, index, Everything()); other[0].Prompt.Text == pair[0].Prompt.Text {
			t.Errorf("pair %d is that of another seed: %q", index, pair[0].Prompt.Text)
		}
		first, second := pair[0].Prompt.Text, pair[1].Prompt.Text
		if !strings.HasPrefix(second, first) || len(second) == len(first) || first == "" {
			t.Errorf("pair %d: %q does not go on where %q ends", index, second, first)
		}
		drawn[first] = true
		for _, q := range pair {
			if q.MaxTokens < leastAnswer || q.MaxTokens > mostAnswer || q.TopK > pairTopK {
				t.Errorf("pair %d: %+v is out of its range", index, q)
			}
		}
	}
	if len(drawn) < 490 {
		t.Errorf("only %d of 500 first prompts are distinct", len(drawn))
	}
}

func TestPairsKeepToAnOffer(t *testing.T) {
	for index := range 200 {
		for _, q := range Pair(seed, index, Offer{Text: true, SeedBits: 31, MaxTokens: 10}) {
			if q.TopK != 0 || q.MinP != 0 || q.RepetitionPenalty != 1 || q.SamplingSeed > math.MaxInt32 || q.MaxTokens > 10 {
				t.Fatalf("pair %d asks for what is not offered: %+v", index, q)
			}
		}
	}
}
