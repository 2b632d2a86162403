package soak

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"touchstone/reports"
	"touchstone/reports/soak"
	"touchstone/suites/api"
	"touchstone/suites/process"
	"touchstone/suites/target"
	"touchstone/suites/wire"
)

// stopTimeout bounds the end of a worker.
const stopTimeout = 10 * time.Second

// targetExecutor soaks a target over HTTP and, for the bundled worker, through its native library.
type targetExecutor struct {
	target  *target.Target
	door    door
	running map[string]*server // by launch settings; "" is the target's shared worker
	native  *nativeRoute
}

// server is a worker with the client that talks to it.
type server struct {
	client  *wire.Client
	process *process.Process // nil if somebody else started it
	owned   bool             // to be stopped by the executor
}

// NewExecutor makes the executor of a prepared target. It asks the worker once whether it offers log-probabilities and
// hashes of logits; what it does not offer is not compared. The caller closes it before the target.
func NewExecutor(ctx context.Context, t *target.Target) (Executor, error) {
	e := &targetExecutor{target: t, running: map[string]*server{}}
	var err error
	if e.door, err = newDoor(ctx, t); err != nil {
		return nil, err
	}
	if t.Profile.Bundled() && t.Profile.API == api.Touchstone && t.Has(target.Native) {
		e.native = newNativeRoute(t)
	}
	return e, nil
}

// Subject is the target's.
func (e *targetExecutor) Subject() soak.Subject {
	s := e.target.Subject()
	return soak.Subject{
		Harness: reports.HarnessVersion, Worker: s.Worker, WorkerVersion: s.WorkerVersion, WorkerSHA256: s.WorkerSHA256,
		Model: s.Model, ModelSHA256: s.ModelSHA256,
	}
}

// Reference asks a worker alone: a fresh one if the harness can start workers.
func (e *targetExecutor) Reference(ctx context.Context, request soak.Request) (soak.Outcome, error) {
	levels := map[string]string{}
	for _, factor := range Offered(e.target) {
		levels[factor.Name] = factor.Baseline()
	}
	if e.target.Has(target.Restart) {
		// One fresh worker serves all references, one after the other.
		levels[Process] = "reference"
	}
	s, err := e.server(ctx, levels)
	if err != nil {
		return soak.Outcome{}, err
	}
	outcome, _, err := e.door.ask(ctx, s.client, request, nil)
	return outcome, err
}

// Execute sends the requests of a run.
func (e *targetExecutor) Execute(ctx context.Context, plan *soak.Plan, run soak.Run) (Execution, error) {
	var execution Execution
	var err error
	if run.Levels[soak.Route] == OverNative {
		if e.native == nil {
			return execution, errors.New("the run was drawn for a target with a native library, which this is not")
		}
		execution.Answers, err = e.native.execute(ctx, plan, run)
		execution.RSS = map[string]uint64{"harness": residentBytes(os.Getpid())}
		return execution, err
	}
	s, err := e.server(ctx, run.Levels)
	if err != nil {
		return execution, err
	}
	execution.Answers, execution.FirstToken, err = e.overHTTP(ctx, s, plan, run)
	execution.RSS = map[string]uint64{"harness": residentBytes(os.Getpid())}
	switch {
	case run.Levels[Process] == "fresh" && s.owned:
		err = errors.Join(err, s.stop(ctx))
	case s.process != nil && !s.process.Running():
		err = errors.Join(err, fmt.Errorf("the worker ended with exit code %d", s.process.ExitCode()))
		e.forget(s)
	case s.process != nil:
		execution.RSS["worker "+strconv.Itoa(s.process.PID())+" "+launchKey(run.Levels)] = residentBytes(s.process.PID())
	}
	return execution, err
}

// overHTTP sends what comes before the drawn request, then the request and its company.
func (e *targetExecutor) overHTTP(ctx context.Context, s *server, plan *soak.Plan, run soak.Run) (answers []soak.Answer, first time.Duration, err error) {
	before := -1
	switch run.Levels[Cache] {
	case "warm":
		before = run.Request
	case "shared":
		before = plan.Partner(run.Request)
	}
	if before >= 0 {
		outcome, _, err := e.door.ask(ctx, s.client, plan.Requests[before], nil)
		if err != nil {
			return nil, 0, fmt.Errorf("the request before: %w", err)
		}
		answers = append(answers, soak.Answer{Role: "before", Request: before, Outcome: outcome})
	}
	members := []soak.Answer{{Role: soak.SubjectRole, Request: run.Request}}
	for i, request := range run.Company {
		members = append(members, soak.Answer{Role: "company " + strconv.Itoa(i+1), Request: request})
	}
	firsts := make([]time.Duration, len(members))
	failures := make([]error, len(members))
	var group sync.WaitGroup
	ask := func(i int, began func()) {
		members[i].Outcome, firsts[i], failures[i] = e.door.ask(ctx, s.client, plan.Requests[members[i].Request], began)
		if failures[i] != nil {
			failures[i] = fmt.Errorf("%s: %w", members[i].Role, failures[i])
		}
	}
	// start sends requests; the channel is closed when each of them has begun to be answered.
	start := func(indices []int) <-chan struct{} {
		begun := make(chan struct{})
		var waiting sync.WaitGroup
		for _, i := range indices {
			waiting.Add(1)
			group.Go(func() {
				once := sync.OnceFunc(waiting.Done)
				defer once()
				ask(i, once)
			})
		}
		go func() {
			waiting.Wait()
			close(begun)
		}()
		return begun
	}
	company := make([]int, 0, len(run.Company))
	for i := range run.Company {
		company = append(company, i+1)
	}
	switch run.Levels[Arrival] {
	case "before":
		<-start(company)
		start([]int{0})
	case "after":
		<-start([]int{0})
		start(company)
	default:
		start(append([]int{0}, company...))
	}
	group.Wait()
	for i, failure := range failures {
		if failure == nil {
			answers = append(answers, members[i])
		}
	}
	return answers, firsts[0], errors.Join(failures...)
}

// server gives the worker that fits the levels, and starts it if needed.
func (e *targetExecutor) server(ctx context.Context, levels map[string]string) (*server, error) {
	key := launchKey(levels)
	fresh := levels[Process] == "fresh"
	if s, isRunning := e.running[key]; isRunning && !fresh {
		return s, nil
	}
	if key == "" && !fresh {
		s := &server{client: e.target.Client(), process: e.target.Worker()}
		e.running[key] = s
		return s, nil
	}
	launch := e.target.Launch(process.Launch{})
	if threads := levels[Threads]; threads != "" {
		launch.Command = append(slices.Clone(launch.Command), "--threads", threads)
	}
	if isa := levels[ISA]; isa != "" {
		launch.Env = append(slices.Clone(launch.Env), "TOUCHSTONE_ISA="+isa)
	}
	worker, err := e.target.Start(ctx, launch)
	if err != nil {
		return nil, err
	}
	s := &server{client: e.target.ClientOf(worker), process: worker, owned: true}
	if !fresh {
		e.running[key] = s
	}
	return s, nil
}

// launchKey names what a running worker was started with.
func launchKey(levels map[string]string) string {
	var parts []string
	for _, name := range []string{Threads, ISA} {
		if level, drawn := levels[name]; drawn {
			parts = append(parts, name+"="+level)
		}
	}
	if levels[Process] == "reference" {
		parts = append(parts, "reference")
	}
	return strings.Join(parts, " ")
}

// forget lets go of a worker that has ended.
func (e *targetExecutor) forget(s *server) {
	for key, other := range e.running {
		if other == s && s.owned {
			s.client.Close()
			delete(e.running, key)
		}
	}
}

func (s *server) stop(ctx context.Context) error {
	s.client.Close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	return s.process.Stop(ctx)
}

// Close stops the workers that the executor started and releases the native library.
func (e *targetExecutor) Close() error {
	var problems []error
	for _, key := range slices.Sorted(maps.Keys(e.running)) {
		if s := e.running[key]; s.owned {
			problems = append(problems, s.stop(context.Background()))
		}
	}
	if e.native != nil {
		problems = append(problems, e.native.close())
	}
	return errors.Join(problems...)
}

// residentBytes is the memory of a process that is in RAM; 0 where the system does not say.
func residentBytes(pid int) uint64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
