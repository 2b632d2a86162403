package command

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	. "github.com/onsi/gomega"
)

// process is a worker in a process of its own.
type process struct {
	*exec.Cmd
	url string
	log chan string // lines; closed at the end
}

// startWorker starts a worker on a free port and waits until it is ready.
func startWorker(t *testing.T, arguments ...string) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	arguments = append([]string{"serve", "--model", bundledModel, "--device", "cpu", "--port", "0", "--log-format", "json"}, arguments...)
	p := &process{Cmd: exec.Command(executable, arguments...)}
	p.Env = append(os.Environ(), "TEST_RUNS_WORKER=1")
	stderr, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.log = make(chan string, 10000) // more than any test logs: a worker whose log nobody takes would wait
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.log)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			p.log <- lines.Text()
		}
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill() // it has ended in the tests that go well
		for range p.log {
		}
		_ = p.Wait()
	})
	p.url = "http://" + p.await(t, "listening")["addr"].(string)
	return p
}

// await reads the log up to an event.
func (p *process) await(t *testing.T, event string) map[string]any {
	t.Helper()
	var seen []string
	for text := range p.log {
		var line map[string]any
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("the log line is not JSON: %s", text)
		}
		if line["event"] == event {
			return line
		}
		seen = append(seen, text)
	}
	t.Fatalf("the log ended without the event %q:\n%s", event, strings.Join(seen, "\n"))
	return nil
}

func (p *process) execute(t *testing.T, id string) *http.Response {
	t.Helper()
	body := fmt.Sprintf(`{"job_id":%q,"prompt":"a","temperature":2,"seed":1}`, id)
	response, err := http.Post(p.url+"/execute", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func TestServeDrainsOnSIGTERM(t *testing.T) {
	g := NewWithT(t)
	called := make(chan map[string]any, 1)
	callback := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body map[string]any
		_ = json.NewDecoder(r.Body).Decode(&body) // an empty body fails the test below
		called <- body
	}))
	defer callback.Close()
	const id = "6f3e1b7e-3f43-4c53-9d2a-0e8f3a9b1c55"
	p := startWorker(t, "--worker-id", id, "--callback-url", callback.URL)
	for _, percent := range []float64{0, 25, 50, 75, 100} {
		g.Expect(p.await(t, "model_load_progress")["percent"]).To(Equal(percent))
	}
	g.Expect(p.await(t, "ready")).To(HaveKeyWithValue("worker_id", id))
	g.Expect(<-called).To(And(HaveKeyWithValue("worker_id", id), HaveKeyWithValue("url", p.url), HaveKeyWithValue("model", "haiku")))

	response := p.execute(t, "a")
	p.await(t, "job_started")
	g.Expect(p.Process.Signal(syscall.SIGTERM)).To(Succeed())
	stream, err := io.ReadAll(response.Body)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(string(stream)).To(MatchRegexp(`event: (end|error)\n\n$`))
	p.await(t, "stopped")
	g.Expect(p.Wait()).To(Succeed(), "exit code 0")
}

func TestServeEndsByRequest(t *testing.T) {
	g := NewWithT(t)
	p := startWorker(t)
	p.await(t, "ready")
	response, err := http.Post(p.url+"/shutdown", "application/json", nil)
	g.Expect(err).NotTo(HaveOccurred())
	defer response.Body.Close()
	g.Expect(response.StatusCode).To(Equal(202))
	p.await(t, "stopped")
	g.Expect(p.Wait()).To(Succeed())
}

func TestASecondSignalEndsTheDrain(t *testing.T) {
	g := NewWithT(t)
	p := startWorker(t, "--drain-timeout", "1h", "--max-jobs", "1", "--queue", "200")
	p.await(t, "ready")
	for i := range 100 { // far more work than the time between two signals
		p.execute(t, fmt.Sprint(i))
	}
	g.Expect(p.Process.Signal(syscall.SIGTERM)).To(Succeed())
	p.await(t, "shutting_down")
	g.Expect(p.Process.Signal(syscall.SIGTERM)).To(Succeed())
	g.Expect(p.await(t, "job_failed")).To(HaveKeyWithValue("code", "SHUTTING_DOWN"), "a job that would have run")
	p.await(t, "stopped")
	g.Expect(p.Wait()).To(Succeed())
}

func TestABusyPort(t *testing.T) {
	g := NewWithT(t)
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	port := taken.URL[strings.LastIndex(taken.URL, ":")+1:]
	g.Expect(refused(t, exitFailed, "serve", "--model", bundledModel, "--device", "cpu", "--port", port)).To(
		And(ContainSubstring(port), ContainSubstring("in use")))
}

func TestTooLittleMemory(t *testing.T) {
	g := NewWithT(t)
	executable, err := os.Executable()
	g.Expect(err).NotTo(HaveOccurred())
	cmd := exec.Command(executable, "serve", "--model", bundledModel, "--device", "cpu", "--port", "0", "--kv-cache-bytes", "1000000000000")
	cmd.Env = append(os.Environ(), "TEST_RUNS_WORKER=1")
	output, err := cmd.CombinedOutput()
	g.Expect(err).To(HaveOccurred())
	g.Expect(cmd.ProcessState.ExitCode()).To(Equal(exitFailed))
	g.Expect(string(output)).To(MatchRegexp(`insufficient memory: the model "haiku" requires \d+ bytes on device cpu .* where \d+ bytes are available`))
}

func TestAnAPIKeyFromAFile(t *testing.T) {
	g := NewWithT(t)
	file := t.TempDir() + "/key"
	g.Expect(os.WriteFile(file, []byte("s3cret\n"), 0o600)).To(Succeed())
	p := startWorker(t, "--api-key-file", file)
	p.await(t, "ready")
	g.Expect(p.execute(t, "a").StatusCode).To(Equal(401))
	g.Expect(os.WriteFile(file, nil, 0o600)).To(Succeed())
	g.Expect(refused(t, exitUsage, "serve", "--model", bundledModel, "--api-key-file", file)).To(ContainSubstring("--api-key-file"))
}
