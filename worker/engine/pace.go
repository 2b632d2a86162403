package engine

import "time"

// pace settles how many prompt tokens go into a step, so that a step takes about as long as it should: a job that arrives
// meanwhile waits for one step, not for another's prompt. It learns from the steps before. How a prompt is cut changes no
// bit of its results.
type pace struct {
	target      time.Duration // of a step; 0: rows is always most
	least, most int
	rows        int
	fastest     time.Duration // step so far of few rows: what any step takes, as a rule to read the weights
}

// leastRows is worth a step on any device: fewer take hardly less time.
const leastRows = 16

func newPace(target time.Duration, start, most int) pace {
	p := pace{target: target, least: min(leastRows, most), most: most, rows: most}
	if target > 0 {
		p.rows = max(min(start, most), p.least)
	}
	return p
}

// learn takes the time of a step with so many rows, of them so many of prompts. Steps that had room left tell nothing of how
// long a full one takes, unless even they took too long.
func (p *pace) learn(rows, prompt int, took time.Duration) {
	if rows <= leastRows && (p.fastest == 0 || took < p.fastest) {
		p.fastest = took
	}
	// Where any step takes longer than the target, one of half as much again holds many more rows.
	target := max(p.target, p.fastest+p.fastest/2)
	if p.target == 0 || prompt == 0 || prompt < p.rows && took < target {
		return
	}
	factor := 2.0
	if took > target/2 {
		factor = max(float64(target)/float64(took), 0.5)
	}
	p.rows = max(min(int(float64(prompt)*factor), p.most), p.least)
}
