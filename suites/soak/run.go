package soak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"touchstone/reports/soak"
	"touchstone/suites/target"
)

// Executor sends requests to a subject.
type Executor interface {
	// Subject says what is soaked.
	Subject() soak.Subject
	// Reference executes a request alone in a fresh process, with every factor at its baseline.
	Reference(ctx context.Context, request soak.Request) (soak.Outcome, error)
	// Execute executes a run as it was drawn. The outputs come in an order that depends on the run alone.
	Execute(ctx context.Context, plan *soak.Plan, run soak.Run) (Execution, error)
	// Close ends all processes that the executor started.
	Close() error
}

// Execution is what a run produced.
type Execution struct {
	Answers    []soak.Answer
	FirstToken time.Duration     // of the drawn request; 0 where it is not known
	RSS        map[string]uint64 // bytes by process
}

// Settings are how a soak is run.
type Settings struct {
	Executor Executor
	Ledger   *soak.Ledger // from NewLedger or OpenLedger, with NewHeader of the plan
	Runs     int          // indices 0 to Runs-1; 0: until Duration is over
	Duration time.Duration
	Shard    soak.Shard
	// Observe, if set, is told of every run that was recorded.
	Observe func(soak.Record)
}

// maxErrors is the number of runs in a row without an answer after which a soak gives up on its subject.
const maxErrors = 10

// runTimeout bounds a run: a subject that hangs gives no answer. It leaves room for slow devices.
const runTimeout = 10 * time.Minute

// Soak does the runs that the ledger lacks, after the references and controls that it lacks. It returns when all are done,
// when Duration is over or when ctx ends: then what was under way is not recorded, and the error is nil. An error means
// that the soak could not go on; the ledger holds what was done.
func Soak(ctx context.Context, settings Settings) error {
	plan := &settings.Ledger.Header.Plan
	if err := plan.Check(); err != nil {
		return err
	}
	if settings.Ledger.Asked != settings.Runs {
		if err := settings.Ledger.Append(soak.Line{Asked: &settings.Runs}); err != nil {
			return err
		}
	}
	if settings.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, settings.Duration)
		defer cancel()
	}
	err := settings.prepare(ctx, plan)
	if err == nil {
		err = settings.runAll(ctx, plan)
	}
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// Repeat soaks a prepared target without a ledger on disk, for a spec of a gate. It gives the report and what was recorded.
func Repeat(ctx context.Context, t *target.Target, plan soak.Plan, runs int) (report soak.Report, contents soak.Contents, err error) {
	executor, err := NewExecutor(ctx, t)
	if err != nil {
		return report, contents, err
	}
	defer func() { err = errors.Join(err, executor.Close()) }()
	ledger := soak.NewLedger(soak.NewHeader(plan, executor.Subject(), soak.Shard{}, ""))
	if err := Soak(ctx, Settings{Executor: executor, Ledger: ledger, Runs: runs}); err != nil {
		return report, contents, err
	}
	return soak.NewReport(&ledger.Contents), ledger.Contents, nil
}

// prepare makes the references and controls that the ledger lacks.
func (s *Settings) prepare(ctx context.Context, plan *soak.Plan) error {
	for i, request := range plan.Requests {
		if _, known := s.Ledger.Reference(i); known {
			continue
		}
		outcome, err := s.Executor.Reference(ctx, request)
		if err != nil {
			return fmt.Errorf("the reference of request %d: %w", i, errors.Join(err, ctx.Err()))
		}
		if err := s.Ledger.Append(soak.Line{Reference: &soak.Reference{Request: i, Outcome: outcome}}); err != nil {
			return err
		}
	}
	for _, request := range controlRequests(plan) {
		if slices.ContainsFunc(s.Ledger.Controls, func(c soak.Control) bool { return c.Request == request }) {
			continue
		}
		changed := plan.Requests[request]
		changed.Seed ^= 1
		outcome, err := s.Executor.Reference(ctx, changed)
		if err != nil {
			return fmt.Errorf("the control of request %d: %w", request, errors.Join(err, ctx.Err()))
		}
		if err := s.Ledger.Append(soak.Line{Control: &soak.Control{Request: request, Seed: changed.Seed, Outcome: outcome}}); err != nil {
			return err
		}
	}
	return nil
}

// maxControls bounds the requests that are sent with another seed.
const maxControls = 8

// controlRequests are the requests whose output depends most on the seed, which no setting narrows to a token or two: the hottest
// first, then the longest.
func controlRequests(plan *soak.Plan) []int {
	var hot []int
	for i, request := range plan.Requests {
		wide := (request.TopK == 0 || request.TopK > 4) && request.TopP >= 0.5 && request.MinP <= 0.1 && request.RepetitionPenalty >= 0.7
		if request.Temperature > 0 && wide {
			hot = append(hot, i)
		}
	}
	slices.SortStableFunc(hot, func(a, b int) int {
		left, right := plan.Requests[a], plan.Requests[b]
		return cmp.Or(cmp.Compare(right.Temperature, left.Temperature), cmp.Compare(right.MaxTokens, left.MaxTokens))
	})
	return hot[:min(len(hot), maxControls)]
}

func (s *Settings) runAll(ctx context.Context, plan *soak.Plan) error {
	failed := 0
	for index := 0; s.Runs == 0 || index < s.Runs; index++ {
		if !s.Shard.Has(index) || s.Ledger.Has(index) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		record, err := Perform(ctx, s.Executor, &s.Ledger.Contents, plan.Draw(index))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed++; err == nil {
			failed = 0
		}
		if err := s.Ledger.Append(soak.Line{Run: &record}); err != nil {
			return err
		}
		if s.Observe != nil {
			s.Observe(record)
		}
		if failed >= maxErrors {
			return fmt.Errorf("%d runs in a row had no answer; the last one: %w", failed, err)
		}
	}
	return nil
}

// Perform executes a run and compares every output with its reference in the ledger. The error is why an output is
// missing; the record says so too.
func Perform(ctx context.Context, executor Executor, ledger *soak.Contents, run soak.Run) (soak.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	start := time.Now()
	execution, err := executor.Execute(ctx, &ledger.Header.Plan, run)
	end := time.Now()
	record := soak.Record{Run: run, Verdict: soak.Same, Volatile: &soak.Volatile{
		At: end.UTC().Format(time.RFC3339Nano), Millis: millis(end.Sub(start)),
		FirstTokenMillis: millis(execution.FirstToken), RSS: execution.RSS,
	}}
	for _, answer := range execution.Answers {
		output, err := ledger.Judge(answer)
		if err != nil {
			return record, err
		}
		if output.Difference != nil {
			record.Verdict = soak.Diverged
		}
		record.Outputs = append(record.Outputs, output)
	}
	if err != nil {
		record.Verdict, record.Volatile.Error = soak.Errored, err.Error()
	}
	return record, err
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
