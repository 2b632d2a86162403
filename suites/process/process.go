// Package process starts a worker as a process of its own, diagnoses what is wrong with it, and ends it with all it started.
package process

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Launch is a worker to start as a process of its own.
type Launch struct {
	Command []string // with {port}, {model} and {device} in any argument
	Env     []string // added to the harness's environment, with the same placeholders
	Dir     string   // the folder it runs in; "" is the harness's own
	// Header goes with the questions whether it is ready, such as a key.
	Header map[string]string
	Model  string
	Device string
	// ReadyPaths tell that the worker is ready: none answers anything but 200, or 404 for a path that it does not have, and
	// one answers 200. None means /health.
	ReadyPaths []string
	// ReadyWithin bounds the time until the worker is ready; 0 means 30 s. LateAfter is the time after which a worker that
	// did become ready counts as late; 0 means 10 s. LogLimit is the number of log bytes kept; 0 means 256 KiB.
	ReadyWithin time.Duration
	LateAfter   time.Duration
	LogLimit    int
}

// Ailment is what is wrong with a worker's process.
type Ailment string

// What a process can suffer from.
const (
	NotStarted     Ailment = "NOT_STARTED"     // the command cannot be run
	Died           Ailment = "DIED"            // it ended before it was ready
	NeverListened  Ailment = "NEVER_LISTENED"  // it runs, but nothing accepts connections on its port
	NotAnswering   Ailment = "NOT_ANSWERING"   // it accepts connections, but /health does not answer
	Unhealthy      Ailment = "UNHEALTHY"       // /health answers, but never with 200
	ListenedLate   Ailment = "LISTENED_LATE"   // it became ready, but late
	FloodedLog     Ailment = "FLOODED_LOG"     // it wrote more log than is kept
	IgnoredSigterm Ailment = "IGNORED_SIGTERM" // it had to be killed
	LeftOrphans    Ailment = "LEFT_ORPHANS"    // processes of its group outlived it
)

// Diagnosis is why a process could not be used or did not end well.
type Diagnosis struct {
	Ailment  Ailment
	Detail   string
	ExitCode int            // -1 if it did not exit by itself
	Signal   syscall.Signal // that ended it; 0 if none did
	LogTail  string         // its last lines
}

// Error gives the ailment, the detail and the last lines of the log.
func (d *Diagnosis) Error() string {
	text := fmt.Sprintf("%s: %s", d.Ailment, d.Detail)
	if d.LogTail != "" {
		text += "\nlast log lines:\n" + d.LogTail
	}
	return text
}

// Process is a worker that runs. Stop or Kill must be called; both may be called again.
type Process struct {
	URL        string
	Port       int
	ReadyAfter time.Duration // from start to the first 200 of its ReadyPaths
	Late       bool          // ReadyAfter was above Launch.LateAfter

	command *exec.Cmd
	log     *boundedLog
	ended   chan struct{}
	waitErr error // valid once ended is closed

	terminate sync.Once
	stopOnce  sync.Once
	stopErr   error
}

// Start starts a worker on a free port and waits until it is ready. Its error is a *Diagnosis; then nothing is left behind.
func Start(ctx context.Context, launch Launch) (*Process, error) {
	port, err := FreePort()
	if err != nil {
		return nil, &Diagnosis{Ailment: NotStarted, Detail: err.Error(), ExitCode: -1}
	}
	p, err := spawn(launch, port)
	if err != nil {
		return nil, err
	}
	if err := p.waitReady(ctx, launch); err != nil {
		p.Kill()
		return nil, err
	}
	return p, nil
}

// Run runs a worker's command to its end on the given port, for commands that are expected to refuse. It returns the exit
// code and the output; the error is a *Diagnosis if the command could not be run or was still running when ctx ended.
func Run(ctx context.Context, launch Launch, port int) (exitCode int, output string, err error) {
	p, err := spawn(launch, port)
	if err != nil {
		return -1, "", err
	}
	defer p.Kill()
	select {
	case <-p.ended:
		return p.exitCode(), p.Log(), nil
	case <-ctx.Done():
		return -1, p.Log(), p.diagnose(NotAnswering, "the command was still running when the time was up")
	}
}

func spawn(launch Launch, port int) (*Process, error) {
	fill := strings.NewReplacer("{port}", strconv.Itoa(port), "{model}", launch.Model, "{device}", launch.Device)
	arguments := make([]string, len(launch.Command))
	for i, argument := range launch.Command {
		arguments[i] = fill.Replace(argument)
	}
	if len(arguments) == 0 {
		return nil, &Diagnosis{Ailment: NotStarted, Detail: "the command line is empty", ExitCode: -1}
	}
	limit := launch.LogLimit
	if limit == 0 {
		limit = 256 << 10
	}
	p := &Process{
		URL: "http://127.0.0.1:" + strconv.Itoa(port), Port: port, log: newBoundedLog(limit), ended: make(chan struct{}),
	}
	p.command = exec.Command(arguments[0], arguments[1:]...) //nolint:noctx // Stop and Kill end it, group and all
	p.command.Dir = launch.Dir
	p.command.Env = os.Environ()
	for _, setting := range launch.Env {
		p.command.Env = append(p.command.Env, fill.Replace(setting))
	}
	p.command.Stdout, p.command.Stderr = p.log, p.log
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A child that outlives the worker keeps the pipe open; the log of the worker is complete without it.
	p.command.WaitDelay = time.Second
	if err := p.command.Start(); err != nil {
		return nil, &Diagnosis{Ailment: NotStarted, Detail: err.Error(), ExitCode: -1}
	}
	go func() {
		p.waitErr = p.command.Wait()
		close(p.ended)
	}()
	return p, nil
}

// pollInterval is the pause between two looks at a worker that is not ready.
const pollInterval = 20 * time.Millisecond

func (p *Process) waitReady(ctx context.Context, launch Launch) error {
	within, late, paths := launch.ReadyWithin, launch.LateAfter, launch.ReadyPaths
	if len(paths) == 0 {
		paths = []string{"/health"}
	}
	if within == 0 {
		within = 30 * time.Second
	}
	if late == 0 {
		late = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	start := time.Now()
	ailment, detail := NeverListened, fmt.Sprintf("nothing listens on port %d", p.Port)
	for {
		path, status, connected, err := askReady(ctx, client, p.URL, paths, launch.Header)
		switch {
		case err == nil && status == http.StatusOK:
			p.ReadyAfter = time.Since(start)
			p.Late = p.ReadyAfter > late
			return nil
		case err == nil:
			ailment, detail = Unhealthy, fmt.Sprintf("GET %s answers %d", path, status)
		case connected:
			ailment, detail = NotAnswering, fmt.Sprintf("port %d accepts connections, but GET %s does not answer: %v", p.Port, path, err)
		}
		select {
		case <-p.ended:
			return p.diagnose(Died, fmt.Sprintf("the process ended with exit code %d before it was ready", p.exitCode()))
		case <-ctx.Done():
			return p.diagnose(ailment, fmt.Sprintf("%s after %s", detail, time.Since(start).Round(time.Millisecond)))
		case <-ticker.C:
		}
	}
}

// askReady asks the paths in turn and returns the first that is in the way of being ready, or else the last that answers 200.
func askReady(ctx context.Context, client *http.Client, base string, paths []string, header map[string]string) (path string, status int, connected bool, err error) {
	for _, candidate := range paths {
		answered, connected, err := askStatus(ctx, client, base, candidate, header)
		if err != nil || answered != http.StatusOK && answered != http.StatusNotFound {
			return candidate, answered, connected, err
		}
		if path == "" || answered == http.StatusOK {
			path, status = candidate, answered
		}
	}
	return path, status, true, nil
}

// askStatus also tells whether a connection was made, whatever became of the request.
func askStatus(ctx context.Context, client *http.Client, base, path string, header map[string]string) (status int, connected bool, err error) {
	connection, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		return 0, false, err
	}
	_ = connection.Close()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, http.NoBody)
	if err != nil {
		return 0, true, err
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, true, err
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, true, nil
}

// Stop asks the worker to end (SIGTERM) and waits until ctx ends, then kills it. The error is a *Diagnosis if it ignored
// the signal, left processes behind, or did not exit 0.
func (p *Process) Stop(ctx context.Context) error {
	p.stopOnce.Do(func() { p.stopErr = p.stop(ctx) })
	return p.stopErr
}

func (p *Process) stop(ctx context.Context) error {
	defer p.Kill()
	p.Terminate()
	select {
	case <-p.ended:
	case <-ctx.Done():
		return p.diagnose(IgnoredSigterm, "the process still ran when its time to end was up, and was killed")
	}
	if p.groupOutlives(ctx) {
		return p.diagnose(LeftOrphans, fmt.Sprintf("the worker ended, but a process of its group %d still runs", p.command.Process.Pid))
	}
	if code := p.exitCode(); code != 0 {
		return p.diagnose(Died, fmt.Sprintf("exit code %d after SIGTERM, want 0", code))
	}
	return nil
}

// Kill ends the worker and every process of its group at once, and waits for the worker.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
	<-p.ended
}

// Running tells whether the worker's process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Terminate sends SIGTERM, once: many servers take a second one as the wish to die at once.
func (p *Process) Terminate() {
	p.terminate.Do(func() {
		// The process may have ended meanwhile; Stop says what became of it.
		_ = p.command.Process.Signal(syscall.SIGTERM)
	})
}

// PID is the worker's process id, and the id of its process group.
func (p *Process) PID() int { return p.command.Process.Pid }

// ExitCode is the exit code of a process that has ended; -1 if a signal ended it or it still runs.
func (p *Process) ExitCode() int {
	if p.Running() {
		return -1
	}
	return p.exitCode()
}

// Log is what the worker wrote: all of it, or its beginning and end with a note of what is left out.
func (p *Process) Log() string { return p.log.String() }

// Flooded returns a diagnosis if the worker wrote more log than is kept, and nil otherwise.
func (p *Process) Flooded() error {
	if written, limit := p.log.written(); written > limit {
		return p.diagnose(FloodedLog, fmt.Sprintf("%d bytes of log, at most %d are kept", written, limit))
	}
	return nil
}

// orphanGrace is how long processes of the group may take to follow the worker.
const orphanGrace = 500 * time.Millisecond

func (p *Process) groupOutlives(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, orphanGrace)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for syscall.Kill(-p.command.Process.Pid, 0) == nil {
		select {
		case <-ctx.Done():
			return true
		case <-ticker.C:
		}
	}
	return false
}

func (p *Process) exitCode() int {
	if p.command.ProcessState == nil {
		return -1
	}
	return p.command.ProcessState.ExitCode()
}

// signal is what ended the process; 0 if nothing did, or it still runs.
func (p *Process) signal() syscall.Signal {
	if p.Running() || p.command.ProcessState == nil {
		return 0
	}
	if status, isUnix := p.command.ProcessState.Sys().(syscall.WaitStatus); isUnix && status.Signaled() {
		return status.Signal()
	}
	return 0
}

func (p *Process) diagnose(ailment Ailment, detail string) *Diagnosis {
	return &Diagnosis{Ailment: ailment, Detail: detail, ExitCode: p.ExitCode(), Signal: p.signal(), LogTail: p.log.tail(12)}
}

// FreePort returns a TCP port of 127.0.0.1 that nobody listened on a moment ago.
func FreePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it returns at once
	if err != nil {
		return 0, err
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
