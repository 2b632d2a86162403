package soak

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Timing is how long runs took and how much memory processes held. It decides nothing.
type Timing struct {
	Seconds       float64     `json:"seconds"` // sum over the runs
	RunsPerSecond float64     `json:"runsPerSecond"`
	MedianMillis  float64     `json:"medianMs"`
	P95Millis     float64     `json:"p95Ms"`
	MaxMillis     float64     `json:"maxMs"`
	Memory        []MemoryRow `json:"memory,omitempty"`
}

// MemoryRow is the resident memory of one process over its life. Early is the median of the second quarter of its
// samples, so that what is set up once does not count, and Late that of the last quarter.
type MemoryRow struct {
	Process string  `json:"process"`
	Samples int     `json:"samples"`
	Early   uint64  `json:"early"` // bytes
	Late    uint64  `json:"late"`
	Max     uint64  `json:"max"`
	Growth  float64 `json:"growth"` // Late / Early - 1
}

// leastSamples is the number of samples below which a process says nothing about growth.
const leastSamples = 40

func timing(records []Record) Timing {
	var t Timing
	var times []float64
	memory := map[string][]uint64{}
	for _, record := range byTime(records) {
		times = append(times, record.Volatile.Millis)
		t.Seconds += record.Volatile.Millis / 1000
		for process, bytes := range record.Volatile.RSS {
			memory[process] = append(memory[process], bytes)
		}
	}
	if len(times) == 0 {
		return t
	}
	slices.Sort(times)
	t.MedianMillis, t.P95Millis, t.MaxMillis = times[len(times)/2], times[len(times)*95/100], times[len(times)-1]
	if t.Seconds > 0 {
		t.RunsPerSecond = float64(len(times)) / t.Seconds
	}
	for _, process := range slices.Sorted(maps.Keys(memory)) {
		samples := memory[process]
		if len(samples) < leastSamples {
			continue
		}
		quarter := len(samples) / 4
		row := MemoryRow{Process: process, Samples: len(samples), Early: median(samples[quarter : 2*quarter]),
			Late: median(samples[3*quarter:]), Max: slices.Max(samples)}
		row.Growth = float64(row.Late)/float64(max(row.Early, 1)) - 1
		t.Memory = append(t.Memory, row)
	}
	return t
}

// byTime gives the records that have times, in the order in which they ended.
func byTime(records []Record) []Record {
	timed := slices.DeleteFunc(slices.Clone(records), func(r Record) bool { return r.Volatile == nil || r.endedAt().IsZero() })
	slices.SortStableFunc(timed, func(a, b Record) int { return cmp.Compare(a.endedAt().UnixNano(), b.endedAt().UnixNano()) })
	return timed
}

func (r *Record) endedAt() time.Time {
	at, err := time.Parse(time.RFC3339Nano, r.Volatile.At)
	if err != nil {
		return time.Time{}
	}
	return at
}

func median[T cmp.Ordered](values []T) T {
	return slices.Sorted(slices.Values(values))[len(values)/2]
}
