package expectation

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"touchstone/suites/internal/sampling"
)

var update = flag.Bool("update", false, "measure the smallest biases and write POWER.md anew")

const (
	powerFile = "POWER.md"
	// powerCases is how many cases the power is stated for, repeats how many runs are simulated to count detections.
	powerCases = 128
	repeats    = 200
	wanted     = 0.95
)

// A bias is a way in which a worker's sampling is wrong, by an amount.
type bias struct {
	name  string
	apply func(s sampling.Settings, amount float64) sampling.Settings
	least float64 // an amount that need not be seen
	most  float64 // one that must be
}

var biases = []bias{
	{"temperature x (1 + amount)", func(s sampling.Settings, a float64) sampling.Settings { s.Temperature *= 1 + a; return s }, 1e-5, 1},
	{"temperature / (1 + amount)", func(s sampling.Settings, a float64) sampling.Settings { s.Temperature /= 1 + a; return s }, 1e-5, 1},
	{"top_p + amount", func(s sampling.Settings, a float64) sampling.Settings {
		if s.TopP < 1 {
			s.TopP = min(1, s.TopP+a)
		}
		return s
	}, 1e-5, 1},
	{"top_p - amount", func(s sampling.Settings, a float64) sampling.Settings {
		if s.TopP < 1 {
			s.TopP = max(0, s.TopP-a)
		}
		return s
	}, 1e-5, 1},
	{"top_k x (1 + amount), rounded up", func(s sampling.Settings, a float64) sampling.Settings {
		if s.TopK > 0 {
			s.TopK = int(math.Ceil(float64(s.TopK) * (1 + a)))
		}
		return s
	}, 1e-4, 20},
	{"min_p x (1 - amount)", func(s sampling.Settings, a float64) sampling.Settings { s.MinP *= 1 - a; return s }, 1e-5, 1},
	{"min_p + amount", func(s sampling.Settings, a float64) sampling.Settings { s.MinP = min(1, s.MinP+a); return s }, 1e-5, 1},
	{"penalty ^ (1 - amount)", func(s sampling.Settings, a float64) sampling.Settings {
		s.Penalty = float64(float32(math.Pow(s.Penalty, 1-a)))
		return s
	}, 1e-5, 2},
}

// choice is one place where a token is sampled.
type choice struct {
	settings sampling.Settings
	logits   []float32
	history  []int32
}

// choices are the sampled tokens of the cases.
func choices(t *testing.T) []choice {
	t.Helper()
	r := reference(t)
	cases, err := r.Cases(seed, powerCases, Everything())
	if err != nil {
		t.Fatal(err)
	}
	var out []choice
	for _, c := range cases {
		if c.Temperature == 0 {
			continue
		}
		logits, err := r.evaluate(c.IDs, c.Want.Tokens)
		if err != nil {
			t.Fatal(err)
		}
		history := slices.Clone(c.IDs)
		for i, token := range c.Want.Tokens {
			out = append(out, choice{c.settings(len(history)), logits[i], slices.Clone(history)})
			history = append(history, token)
		}
	}
	return out
}

// power is the fraction of simulated runs in which the bias is seen: by the test of draws, and by equality of the tokens.
func (b bias) power(all []choice, right []distribution, amount float64) (forced, equal float64) {
	wrong := make([]distribution, len(all))
	agreement := 1.0
	for i, c := range all {
		wrong[i] = newDistribution(b.apply(c.settings, amount), c.logits, c.history)
		agreement *= overlap(right[i].probabilities, wrong[i].probabilities)
	}
	source := rand.New(rand.NewPCG(seed, 5))
	detected := 0
	for range repeats {
		var draws Draws
		for i := range all {
			draws = append(draws, simulate(source, right[i], wrong[i], right[i].groups(all[i].settings)))
		}
		if _, err := draws.Test(); err != nil {
			detected++
		}
	}
	return float64(detected) / repeats, 1 - agreement
}

// overlap is how often two distributions give the same token for the same random number: each token owns a part of the unit
// interval, in the order of ids.
func overlap(a, b []float64) float64 {
	var sum, lowA, lowB float64
	for i := range a {
		sum += max(0, min(lowA+a[i], lowB+b[i])-max(lowA, lowB))
		lowA, lowB = lowA+a[i], lowB+b[i]
	}
	return min(1, sum)
}

// simulate draws a token from the wrong distribution and sees it under the right one.
func simulate(source *rand.Rand, right, wrong distribution, groups []string) Draw {
	u, sum, token := source.Float64(), 0.0, int32(wrong.order[0])
	for _, id := range wrong.order {
		if sum += wrong.probabilities[id]; u < sum {
			token = int32(id)
			break
		}
	}
	draw := Draw{Token: token, Within: source.Float64(), Groups: groups}
	if draw.Low, draw.High = right.part(token); draw.Low == draw.High {
		draw.Impossible = "filtered"
	}
	return draw
}

// smallest is the least amount that is seen with the wanted power, by bisection.
func smallest(b bias, seen func(amount float64) float64) float64 {
	low, high := b.least, b.most
	if seen(high) < wanted {
		return math.Inf(1)
	}
	for high/low > 1.1 {
		middle := math.Sqrt(low * high)
		if seen(middle) >= wanted {
			high = middle
		} else {
			low = middle
		}
	}
	return high
}

// The documented power is what the tests have. A bias twice the documented one is seen, and no bias is not.
func TestPowerIsAsDocumented(t *testing.T) {
	all := choices(t)
	right := make([]distribution, len(all))
	for i, c := range all {
		right[i] = newDistribution(c.settings, c.logits, c.history)
	}
	if *update {
		writePower(t, all, right)
	}
	document, err := os.ReadFile(powerFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range biases {
		amount := documented(t, string(document), b.name)
		if math.IsInf(amount, 1) {
			continue
		}
		if forced, _ := b.power(all, right, min(2*amount, b.most)); forced < wanted {
			t.Errorf("%s: twice the documented %.4g is seen in %.0f %% of runs", b.name, amount, 100*forced)
		}
	}
	none := bias{apply: func(s sampling.Settings, _ float64) sampling.Settings { return s }}
	if forced, equal := none.power(all, right, 0); forced > 0 || equal > 1e-9 {
		t.Errorf("no bias at all is seen in %.1f %% of runs, and by equality with %.2g", 100*forced, equal)
	}
}

// documented is the smallest bias that POWER.md names for a worker judged by its tokens.
func documented(t *testing.T, document, name string) float64 {
	t.Helper()
	for line := range strings.Lines(document) {
		fields := strings.Split(line, "|")
		if len(fields) < 4 || strings.TrimSpace(fields[1]) != name {
			continue
		}
		var amount float64
		text := strings.TrimSpace(fields[3])
		if text == "not seen" {
			return math.Inf(1)
		}
		if _, err := fmt.Sscan(text, &amount); err != nil {
			t.Fatalf("%s: %q is no number", name, text)
		}
		return amount
	}
	t.Fatalf("%s has no line for %q; run go test ./suites/expectation -run Power -update", powerFile, name)
	return 0
}

func writePower(t *testing.T, all []choice, right []distribution) {
	t.Helper()
	var page strings.Builder
	fmt.Fprintf(&page, "# What the comparison of sampled tokens can see\n\n"+
		"The smallest bias that is seen with %.0f %% probability in a run of %d cases of the bundled model, which sample %d tokens.\n"+
		"Written by `go test ./suites/expectation -run Power -update`; the test of that name checks it.\n\n"+
		"- **equal**: a worker of canonical numerics must choose the very token that seed and position decide. Exact.\n"+
		"- **forced**: any other worker. Its tokens, placed in the reference's distribution, must be uniform, all of them and those\n"+
		"  that each setting decides: Kolmogorov's distance, false-alarm rate %g. No token may be one that the filters exclude. Counted\n"+
		"  over %d simulated runs.\n\n"+
		"| bias | equal | forced |\n| --- | ---: | ---: |\n", 100*wanted, powerCases, len(all), FalseAlarm, repeats)
	show := func(amount float64) string {
		if math.IsInf(amount, 1) {
			return "not seen"
		}
		return fmt.Sprintf("%.2g", amount)
	}
	for _, b := range biases {
		equal := smallest(b, func(a float64) float64 {
			agreement := 1.0
			for i, c := range all {
				agreement *= overlap(right[i].probabilities, newDistribution(b.apply(c.settings, a), c.logits, c.history).probabilities)
			}
			return 1 - agreement
		})
		forced := smallest(b, func(a float64) float64 { f, _ := b.power(all, right, a); return f })
		fmt.Fprintf(&page, "| %s | %s | %s |\n", b.name, show(equal), show(forced))
	}
	missed := 0.0 // log10 of the chance that an independent draw gives every token again
	for _, d := range right {
		sum := 0.0
		for _, p := range d.probabilities {
			sum += p * p
		}
		missed += math.Log10(sum)
	}
	fmt.Fprintf(&page, "\n**Seed.** A worker that draws with another seed than the one asked for, or ignores any bit of it, gives the right tokens all\n"+
		"the same with probability 10^%.0f over all sampled tokens; a bit that is set in half the requests, in half of them: 10^%.0f. A worker\n"+
		"judged by its tokens is asked the same with seeds that differ in one bit: answers that agree every time are as improbable as\n"+
		"the product of `Reference.Chance` over them.\n", math.Ceil(missed), math.Ceil(missed/2))
	if err := os.WriteFile(powerFile, []byte(page.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
