package expectation

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	model   = "../../fixtures/models/haiku.gguf"
	goldens = "../../fixtures/goldens/haiku-f16.json"
	// seed fixes the cases of these tests, few bounds them.
	seed = 20261
	few  = 60
)

// shared is one reference for all tests of the package, and some cases.
var shared = sync.OnceValues(func() (*Reference, error) { return Open(model) })

func reference(t testing.TB) *Reference {
	t.Helper()
	r, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// cases are drawn once; nobody changes them.
var cases = sync.OnceValues(func() ([]Case, error) {
	r, err := shared()
	if err != nil {
		return nil, err
	}
	return r.Cases(seed, few, Everything())
})

func drawn(t testing.TB) []Case {
	t.Helper()
	all, err := cases()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What the reference computes is tied to the outside: greedy tokens of Hugging Face transformers, up to the first that a margin
// does not decide.
func TestReferenceAgreesWithTheOracle(t *testing.T) {
	text, err := os.ReadFile(goldens)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Goldens []struct {
			Prompt    string    `json:"prompt"`
			PromptIDs []int32   `json:"prompt_ids"`
			GreedyIDs []int32   `json:"greedy_ids"`
			Margins   []float64 `json:"margins"`
		} `json:"goldens"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	r := reference(t)
	compared := 0
	for _, golden := range document.Goldens {
		got, err := r.run(golden.PromptIDs, Request{TopP: 1, RepetitionPenalty: 1, MaxTokens: len(golden.GreedyIDs)})
		if err != nil {
			t.Fatal(err)
		}
		for i, token := range got.tokens {
			if golden.Margins[i] < 0.05 {
				break
			}
			if compared++; token != golden.GreedyIDs[i] {
				t.Errorf("%q: token %d is %d, the oracle's %d", golden.Prompt, i, token, golden.GreedyIDs[i])
				break
			}
		}
	}
	if compared < 50 {
		t.Errorf("only %d tokens were compared", compared)
	}
}

func TestACaseIsMadeOfItsSeedAndIndexAlone(t *testing.T) {
	r := reference(t)
	cases := drawn(t)
	again, err := r.Case(seed, 11, Everything())
	if err != nil {
		t.Fatal(err)
	}
	again.Company = cases[11].Company
	if !reflect.DeepEqual(again, cases[11]) {
		t.Errorf("case 11 is %+v, then %+v", cases[11], again)
	}
	other, err := r.Case(seed+1, 11, Everything())
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(other.Prompt, again.Prompt) {
		t.Error("another seed gives the same prompt")
	}
	parsedSeed, index, ok := ParseName(Kind, again.Name())
	if parsedSeed != seed || index != 11 || !ok {
		t.Errorf("%s reads as %d, %d, %t", again.Name(), parsedSeed, index, ok)
	}
}

func TestCasesReachEveryField(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range drawn(t) {
		for name, holds := range map[string]bool{
			"greedy": c.Temperature == 0, "hot": c.Temperature > 1.5, "top-p": c.TopP < 1, "top-k": c.TopK > 0, "min-p": c.MinP > 0,
			"penalty": c.RepetitionPenalty != 1, "large seed": c.SamplingSeed > math.MaxUint32, "stop": c.Want.FinishReason == StopSequence,
			"length": c.Want.FinishReason == MaxTokens, "end": c.Want.FinishReason == EndOfText, "company": c.Company > 1, "alone": c.Company == 1,
			"one token": len(c.IDs) == 1, "long": len(c.IDs) > 500, "alternatives": len(c.Want.Top) > 0, "hash": c.Want.LogitsSHA256 != "",
			"full context": len(c.IDs)+c.MaxTokens == reference(t).ContextLength(),
			"other script": slices.ContainsFunc([]rune(c.Prompt.Text), func(r rune) bool { return r > 0x400 }),
		} {
			seen[name] = seen[name] || holds
		}
		if len(c.IDs)+c.MaxTokens > reference(t).ContextLength() {
			t.Errorf("%s asks for %d + %d tokens", c.Name(), len(c.IDs), c.MaxTokens)
		}
	}
	for name, reached := range seen {
		if !reached {
			t.Errorf("no case of %d is %q", few, name)
		}
	}
}

func TestGroupsAreWhatTheirCasesSay(t *testing.T) {
	all := drawn(t)
	together := 0
	for _, group := range Groups(all) {
		for _, c := range group {
			if c.Company != len(group) {
				t.Errorf("%s is in a group of %d, but its company is %d", c.Name(), len(group), c.Company)
			}
			together++
		}
	}
	if together != len(all) {
		t.Errorf("%d of %d cases are in a group", together, len(all))
	}
}

func TestFormsOfAPrompt(t *testing.T) {
	offer := Everything()
	offer.Text, offer.Tokens, offer.Chat = false, true, true
	tokens, chats := 0, 0
	for index := range 8 {
		c, err := reference(t).Case(seed, index, offer)
		if err != nil {
			t.Fatal(err)
		}
		if c.Prompt.Tokens != nil && slices.Equal(c.Prompt.Tokens, c.IDs) {
			tokens++
		}
		if len(c.Prompt.Chat) > 0 && strings.HasSuffix(ChatML(c.Prompt.Chat), "<|im_start|>assistant\n") {
			chats++
		}
	}
	if tokens == 0 || chats == 0 || tokens+chats != 8 {
		t.Errorf("%d prompts of tokens and %d chats of 8", tokens, chats)
	}
}

func TestAnHonestWorkerPasses(t *testing.T) {
	var draws Draws
	for _, c := range drawn(t) {
		if err := c.Compare(c.Want); err != nil {
			t.Error(err)
		}
		got, err := reference(t).Force(c, c.Want, FloatBound)
		if err != nil {
			t.Error(err)
		}
		draws = append(draws, got...)
	}
	outcomes, err := draws.Test()
	if err != nil {
		t.Error(err)
	}
	if len(outcomes) != len(groups) || outcomes[0].Draws < 100 {
		t.Errorf("only these were tested: %+v", outcomes)
	}
}

// Every lie about an answer is seen by the comparison, and named by its field.
func TestLiesAboutAnAnswerAreSeen(t *testing.T) {
	for _, lie := range []struct {
		field string
		tell  func(a *Answer) bool // false where the answer gives no occasion
	}{
		{"prompt_tokens", func(a *Answer) bool { a.PromptTokens++; return true }},
		{"completion_tokens", func(a *Answer) bool { a.CompletionTokens++; return true }},
		{"tokens", func(a *Answer) bool { a.Tokens[len(a.Tokens)-1]++; return true }},
		{"tokens", func(a *Answer) bool { a.Tokens = a.Tokens[:len(a.Tokens)-1]; return true }},
		{"text", func(a *Answer) bool { a.Text += " "; return true }},
		{"finish_reason", func(a *Answer) bool { a.FinishReason = "another"; return true }},
		{"stop_sequence", func(a *Answer) bool { a.StopSequence += "x"; return true }},
		{"logprobs", func(a *Answer) bool {
			if len(a.Logprobs) == 0 {
				return false
			}
			a.Logprobs[0] /= 2
			return true
		}},
		{"top_logprobs", func(a *Answer) bool {
			if len(a.Top) == 0 || len(a.Top[0]) < 2 {
				return false
			}
			a.Top[0][0], a.Top[0][1] = a.Top[0][1], a.Top[0][0]
			return true
		}},
		{"text_offsets", func(a *Answer) bool { a.TextOffsets[0]++; return true }},
		{"logits_sha256", func(a *Answer) bool { a.LogitsSHA256 += "0"; return len(a.LogitsSHA256) > 1 }},
	} {
		told := 0
		for _, c := range drawn(t) {
			if len(c.Want.Tokens) == 0 {
				continue
			}
			var got Answer
			copied, err := json.Marshal(c.Want)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(copied, &got); err != nil {
				t.Fatal(err)
			}
			if !lie.tell(&got) {
				continue
			}
			told++
			var divergence *Divergence
			if err := c.Compare(got); !errors.As(err, &divergence) || divergence.Field != lie.field {
				t.Errorf("%s: a lie about %s gave %v", c.Name(), lie.field, err)
			}
		}
		if told == 0 {
			t.Errorf("no occasion to lie about %s", lie.field)
		}
	}
}

// A worker whose numerics are its own is judged by its tokens: the lies that do not show in them alone are seen there too.
func TestLiesAreSeenByForcing(t *testing.T) {
	r := reference(t)
	for _, lie := range []struct {
		name, field string
		tell        func(q *Request) bool
	}{
		{"top-k ignored", "tokens", func(q *Request) bool {
			defer func() { q.TopK = 0 }()
			return q.TopK > 0 && q.TopK < 20 && q.Temperature > 0.5
		}},
		{"penalty ignored while greedy", "tokens", func(q *Request) bool {
			defer func() { q.RepetitionPenalty = 1 }()
			return q.RepetitionPenalty != 1 && q.Temperature == 0
		}},
		{"hot instead of greedy", "tokens", func(q *Request) bool {
			defer func() { q.Temperature = 1.5 }()
			return q.Temperature == 0
		}},
	} {
		told, seen := 0, 0
		for _, c := range drawn(t) {
			q := c.Request
			if !lie.tell(&q) {
				continue
			}
			told++
			chosen, err := r.run(c.IDs, q)
			if err != nil {
				t.Fatal(err)
			}
			var divergence *Divergence
			if _, err := r.Force(c, r.want(c.IDs, q, chosen), FloatBound); errors.As(err, &divergence) && divergence.Field == lie.field {
				seen++
			}
		}
		if told == 0 || seen == 0 {
			t.Errorf("%s: told in %d cases, seen in %d", lie.name, told, seen)
		}
	}
}

func TestForcingBoundsLogprobs(t *testing.T) {
	r := reference(t)
	for _, c := range drawn(t) {
		if len(c.Want.Logprobs) == 0 || c.Want.Logprobs[0] > -0.5 {
			continue
		}
		got := c.Want
		got.Logprobs = slices.Clone(got.Logprobs)
		got.Logprobs[0] /= 2
		var divergence *Divergence
		if _, err := r.Force(c, got, FloatBound); !errors.As(err, &divergence) || divergence.Field != "logprobs" || divergence.At != 0 {
			t.Errorf("half a log-probability gave %v", err)
		}
		return
	}
	t.Error("no case has a log-probability to halve")
}

func TestADivergenceTeaches(t *testing.T) {
	c := drawn(t)[0]
	got := c.Want
	got.Text += "!"
	text := c.Compare(got).Error()
	for _, part := range []string{"text, first divergence at", "expected: \"", "got: \"", "request: {", "case: " + c.Name()} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
}

func TestStopsEndAnAnswer(t *testing.T) {
	r := reference(t)
	ids, err := r.Encode("abcabd ef")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stops        []string
		reason, text string
	}{
		{nil, "", "abcabd ef"}, {[]string{"abd"}, StopSequence, "abc"}, {[]string{"b", "abc"}, StopSequence, "a"},
		{[]string{"d", "abd"}, StopSequence, "abc"}, {[]string{"x"}, "", "abcabd ef"},
	} {
		if got := finish(r.tokens, ids, len(ids)+1, c.stops); got.reason != c.reason || got.text != c.text {
			t.Errorf("%q: %q, %q; want %q, %q", c.stops, got.reason, got.text, c.reason, c.text)
		}
	}
	if got := finish(r.tokens, ids, len(ids), nil); got.reason != MaxTokens || got.tokens != len(ids) {
		t.Errorf("the last token that counts: %+v", got)
	}
}
